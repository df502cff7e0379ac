"""Servers as they should be, or nearly: what a doctor says of those of the tests is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from outbox.embedded import Mongod, RedisServer
from outbox.operations.doctor import mongodb
from tests.cli.conftest import Cli

KNOWN = {"members": "advice"}
"""The servers of the tests are one mongod; and with the oplog that it has, nobody waits."""


class Doctor:
    """`outbox doctor`, asked again and again."""

    def __init__(self, outbox: Cli) -> None:
        self._outbox = outbox

    def __call__(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """The findings by name, without what is known. Exit code and levels go together."""
        result = self._outbox("doctor", "--json", *arguments)
        found = {each["check"]: each for each in result.json["findings"]}
        dangers = [name for name, each in found.items() if each["level"] == "danger"]
        assert result.json["ok"] == (not dangers)
        assert result.code == bool(dangers) or "unreachable" in dangers, result.err
        assert all(each["docs"].endswith(f"going-live.md#{name}") for name, each in found.items())
        return {name: each for name, each in found.items() if name not in KNOWN}

    def levels(self, *arguments: str) -> dict[str, str]:
        return {name: each["level"] for name, each in self(*arguments).items()}


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """One of their own: the oplog of that of all tests reaches back for minutes."""
    with Mongod(tmp_path_factory.mktemp("mongod")) as server:
        yield server


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Any]:
    """As it should be, and after the test as it was."""
    with redis_server.client() as client:
        names = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
        before = {name: client.config_get(name)[name] for name in names}
        client.config_set("maxmemory", "1gb")
        yield client
        for name, value in before.items():
            client.config_set(name, value)


@pytest.fixture(autouse=True)
def any_disk_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """How full this machine's is does not matter."""
    monkeypatch.setattr(mongodb, "FULL", 1.1)


@pytest.fixture
def doctor(outbox: Cli, redis: Any) -> Doctor:
    assert outbox("init", "--files").code == 0
    return Doctor(outbox)
