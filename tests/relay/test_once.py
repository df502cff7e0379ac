"""`relay --once` says for what it has waited in vain, and by its exit code whether that is a server that is away."""

from __future__ import annotations

import pytest
from pymongo.errors import AutoReconnect, OperationFailure
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import NoPermissionError, OutOfMemoryError

from outbox.cli.failures import FAILED, UNREACHABLE, explain
from outbox.embedded import Mongod
from outbox_relay import once
from outbox_relay.once import UntilEmpty
from outbox_relay.outage import Outages
from outbox_relay.service import FINAL
from tests.cli.conftest import Cli, bare, cli
from tests.relay.world import World
from tests.waiting import PATIENCE

__all__ = ["bare", "cli"]

ADDRESSES = {"redis": "10.0.0.1:6379", "mongodb": "10.0.0.2:27017"}


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (NoConnection("Error 111 connecting"), UNREACHABLE, "redis at 10.0.0.1:6379 cannot be reached"),
        (OutOfMemoryError("OOM"), UNREACHABLE, "Redis is full"),
        (NoPermissionError("this user has no permissions"), FAILED, "Redis's user lacks a permission"),
        (KeyError("x"), FAILED, "a defect in: drain x/0"),
    ],
    ids=["away", "full", "refused", "defect"],
)
async def test_it_says_why_it_gives_up(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, words: str
) -> None:
    monkeypatch.setattr(once, "PATIENCE_SECONDS", 0.0)

    async def none() -> int:
        return 0

    outages = Outages({"redis": none, "mongodb": none}, none)
    until = UntilEmpty(world.store, world.streams, outages, ADDRESSES, lambda: None)
    outages.failed("drain x/0", error)
    with pytest.raises(FINAL) as raised:
        await until.run_once()
    outages.close()
    failure = explain(raised.value)
    assert failure
    assert failure.code == code
    assert words in failure.text
    assert ("cannot be reached" in failure.text) == (code == UNREACHABLE)
    assert ("10.0.0.1:6379" in failure.text) == (not isinstance(error, KeyError))


async def test_a_driver_that_waits_after_a_refusal_does_not_hide_it() -> None:
    async def none() -> int:
        return 0

    outages = Outages({"redis": none, "mongodb": none}, none)
    outages.failed("start", OperationFailure("Authentication failed.", 18))
    outages.failed("start", AutoReconnect("127.0.0.1:27017: connection pool paused"))
    told = outages.why()["mongodb"]
    outages.close()
    assert "refuses the user or the password" in told.what


@pytest.mark.parametrize(
    ("uri", "code", "words"),
    [
        ("mongodb://somebody:wr0ng@{}/?replicaSet=rs0", FAILED, "MongoDB refuses the user or the password"),
        ("mongodb://127.0.0.1:1/?replicaSet=rs0", UNREACHABLE, "mongodb at mongodb://127.0.0.1:1 cannot be reached"),
    ],
    ids=["refused", "away"],
)
def test_a_start_that_is_given_up_says_why(
    bare: Cli,
    mongod: Mongod,
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
    code: int,
    words: str,
) -> None:
    monkeypatch.setenv("MONGODB_URI", uri.format(f"{mongod.host}:{mongod.port}"))
    monkeypatch.setattr(once, "PATIENCE_SECONDS", 5.0 * PATIENCE)
    result = bare("relay", "--once", "--port", "0")
    assert (result.code, "wr0ng" in result.err) == (code, False), result.err
    assert words in result.err
    assert ("cannot be reached" in result.err) == (code == UNREACHABLE)
