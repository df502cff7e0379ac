from __future__ import annotations

from datetime import UTC, datetime

import pytest

from outbox.embedded import RedisServer
from outbox.message.document import State
from outbox.streams.declaration import FILE_STREAM
from tests.cli.conftest import Cli, Shelf


@pytest.fixture
def busy(outbox: Cli, shelf: Shelf, redis_server: RedisServer) -> Cli:
    shelf.put(State.PENDING, 3)
    shelf.put(State.COMPLETED, 2)
    shelf.put(State.DEAD)
    with redis_server.client() as redis:
        redis.xadd(FILE_STREAM, {"file_id": "1"})
    return outbox


def test_as_json(busy: Cli) -> None:
    status = busy("status", "--json").json
    assert status["messages"] == {"scheduled": 0, "pending": 3, "published": 0, "completed": 2, "dead": 1}
    assert status["oldest_pending_seconds"] >= 0
    assert status["streams"][FILE_STREAM] == {"length": 1, "undelivered": 1, "unacknowledged": 0}
    assert status["partitions"][0].keys() >= {"stream", "number", "owner", "token", "batch"}
    assert status["relays"] == []


def test_into_a_pipe_it_is_plain_text(busy: Cli) -> None:
    result = busy("status")
    assert result.code == 0
    lines = [line.split() for line in result.out.splitlines()]
    assert ["scheduled", "pending", "published", "completed", "dead", "oldest", "pending"] in lines
    assert [FILE_STREAM, "1", "1", "0"] in lines
    assert "No relay is running" in result.out
    assert "1 dead. See why: outbox dead list" in result.out
    assert "\x1b" not in result.out
    assert "┏" not in result.out


@pytest.mark.parametrize("command", ["status", "verify"])
def test_more_than_can_be_counted_is_so_many_or_more(
    command: str, busy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SURE", "COUNTED"):
        monkeypatch.setattr(f"outbox.operations.counts.{name}", 2)
    monkeypatch.setattr("outbox.operations.verify.backlog.COUNTED", 2)
    shelf.put(State.DEAD, 6)
    result = busy(command)
    assert result.code == (0 if command == "status" else 1)
    if command == "status":
        assert ["0", "2", "or", "more", "0", "8", "or", "fewer", "2", "or", "more"] in [
            line.split()[:11] for line in result.out.splitlines()
        ]
        assert "! 2 or more dead" in result.out
    else:
        assert "2 or more messages are dead" in result.out


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_mongodb_that_is_slow_is_not_said_to_be_away(
    command: str, busy: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outbox.operations.stats.MONGO_SECONDS", 1e-6)
    result = busy(command)
    assert result.code == 1
    assert "MongoDB answers, but took too long" in result.err
    assert "cannot be reached" not in result.err


def test_what_redis_lost_is_shown(busy: Cli, shelf: Shelf) -> None:
    assert "Recoveries" not in busy("status").out
    loss = {"stream": FILE_STREAM, "number": 2, "verdict": "tail_lost", "recovered": 7, "settled": 1, "kept": 40}
    # Today's: those of more than 90 days ago, MongoDB deletes.
    at = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    shelf.db.outbox_recoveries.insert_one({"at": at, **loss})
    lines = [line.split() for line in busy("status").out.splitlines()]
    assert [f"{at:%Y-%m-%d}", "00:00:00Z", f"{FILE_STREAM}/2", "tail_lost", "7", "1", "40"] in lines
    [recovery] = busy("status", "--json").json["recoveries"]
    assert recovery == {"at": f"{at:%Y-%m-%d}T00:00:00.000Z", **{k: v for k, v in loss.items() if k != "_id"}}


def test_on_a_terminal_there_are_tables(busy: Cli) -> None:
    assert "┏" in busy("status", terminal=True).out


def test_a_redis_that_is_away_is_no_failure(busy: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:s3cr3t@127.0.0.1:9/0")
    shown = busy("status")
    assert shown.code == 0
    assert "Redis cannot be reached" in shown.out
    assert "s3cr3t" not in shown.out
    status = busy("status", "--json")
    assert status.code == 0
    assert status.json["redis"]["reachable"] is False
    assert status.json["messages"]["pending"] == 3


def test_it_can_be_watched(busy: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("outbox.cli.status.sleep", interrupt)
    result = busy("status", "--watch")
    assert result.code == 130
    assert "Messages" in result.out
    assert busy("status", "--watch", "--json").code == 2


def test_watching_goes_on_through_an_outage(busy: Cli, mongodb_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = 0

    def wait(_: float) -> None:
        nonlocal waits
        waits += 1
        monkeypatch.setenv("MONGODB_URI", mongodb_uri)  # it is over
        if waits == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("outbox.cli.status.sleep", wait)
    monkeypatch.setattr("outbox.cli.servers.SECONDS", 0.5)
    monkeypatch.setenv("MONGODB_URI", "mongodb://user:s3cr3t@127.0.0.1:9/?directConnection=true")
    result = busy("status", "--watch")
    assert result.code == 130
    assert result.out.index("MongoDB at mongodb://127.0.0.1:9 cannot be reached") < result.out.index("oldest pending")
    assert "Asked again every 2 seconds" in result.out
    assert "s3cr3t" not in result.out


def test_a_redis_that_drops_streams_when_it_is_full_is_warned_about(busy: Cli, redis_server: RedisServer) -> None:
    with redis_server.client() as redis:
        assert "eviction" not in busy("status").out
        redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert "the eviction policy of Redis is allkeys-lru" in busy("status").out
            told = busy("status", "--json").json["redis"]
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
    assert told["eviction_policy"] == "allkeys-lru"
    assert "With noeviction" in told["warnings"][0]
