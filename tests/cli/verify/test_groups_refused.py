"""What Redis refuses to tell is not taken for what is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ClusterDownError, MasterDownError

from outbox.operations.verify import findings
from outbox.streams.declaration import FILE_GROUP, FILE_STREAM
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import found, only, published

USER = "looks"
ENTRIES, READERS = "published messages are in the stream, until they are done", "somebody reads the streams"


@pytest.fixture
def user(redis: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets verify run as a user with all rights but one."""

    def be(without: str) -> None:
        redis.execute_command("ACL", "SETUSER", USER, "reset", "on", ">p", "~*", "&*", "+@all", *without.split())
        monkeypatch.setenv("REDIS_URL", redis_url.replace("redis://", f"redis://{USER}:p@"))

    yield be
    redis.execute_command("ACL", "DELUSER", USER)


def not_looked_at(cli: Cli) -> list[str]:
    findings = cli("verify", "--json").json["findings"]
    assert {finding["check"] for finding in findings} == {"not-checked"}
    return [finding["means"].partition(": ")[2] for finding in findings]


def test_a_group_that_may_not_be_asked_for_is_not_called_well(
    healthy: Cli, shelf: Shelf, redis: Any, user: Callable[[str], None]
) -> None:
    published(shelf, redis)
    redis.xgroup_destroy(FILE_STREAM, FILE_GROUP)
    only(healthy, "group-missing")
    user("-xinfo")
    titles = not_looked_at(healthy)
    assert ENTRIES in titles
    assert READERS in titles


def test_who_may_not_run_scripts_is_told_what_is_not_looked_at(
    healthy: Cli, shelf: Shelf, redis: Any, user: Callable[[str], None]
) -> None:
    published(shelf, redis)
    redis.xgroup_destroy(FILE_STREAM, FILE_GROUP)
    user("-eval -evalsha")
    assert found(healthy) == ["group-missing", "not-checked"]


@pytest.mark.parametrize("error", [ClusterDownError("CLUSTERDOWN Hash slot not served"), MasterDownError("Link down")])
def test_a_part_of_a_cluster_that_is_away(
    error: Exception, healthy: Cli, shelf: Shelf, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(shelf, redis)
    monkeypatch.setattr(findings, "Cluster", Redis)  # of whose parts one may be away

    async def away(*_: object) -> None:
        raise error

    monkeypatch.setattr(Redis, "xinfo_groups", away)
    titles = not_looked_at(healthy)
    assert ENTRIES in titles
    assert READERS in titles
