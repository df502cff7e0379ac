"""Groups of other programs that hold up trimming: each that an alert is about is named, with what frees the entries."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from outbox.streams.declaration import FILE_GROUP, FILE_STREAM
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import found, only, published


@pytest.fixture
def behind(healthy: Cli, shelf: Shelf, redis: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The workers hold the entries, and others have come to none of them."""
    published(shelf, redis, 2)
    redis.xreadgroup(FILE_GROUP, "w", {FILE_STREAM: ">"})
    redis.xgroup_create(FILE_STREAM, "auditors", "0")
    with monkeypatch.context() as patch:
        patch.setattr("outbox.delivery.trim.ABANDONED_SECONDS", 0.0)
        yield


@pytest.mark.usefixtures("behind")
@pytest.mark.parametrize("consumers", [0, 1])
def test_a_group_that_nothing_is_trimmed_because_of(consumers: int, healthy: Cli, redis: Any) -> None:
    for number in range(consumers):
        redis.xgroup_createconsumer(FILE_STREAM, "auditors", f"old-{number}")
    finding = only(healthy, "idle-group")
    assert finding["examples"] == [f"{FILE_STREAM} auditors"]
    redis.execute_command(*shlex.split(finding["mend"])[1:])
    assert found(healthy) == []


@pytest.mark.usefixtures("behind")
def test_it_is_named_once(healthy: Cli, redis: Any) -> None:
    redis.xgroup_createconsumer(FILE_STREAM, "auditors", "old")
    findings = healthy("verify", "--idle", "0s", "--json").json["findings"]
    assert len([one for one in findings if one["examples"] == [f"{FILE_STREAM} auditors"]]) == 1
