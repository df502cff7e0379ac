"""`outbox verify`: each defect is planted on real servers, found, explained and mended by what it says."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId, Timestamp

from outbox.cli import verify as command
from outbox.embedded import RedisServer
from outbox.message import State
from outbox.streams import FILE_GROUP, FILE_STREAM
from outbox.verify import subjects
from tests.cli.conftest import Cli, Shelf
from tests.relay.processes import a_relay

LONG_AGO = datetime.now(UTC) - timedelta(hours=2)
CHECKPOINT = f"{{{FILE_STREAM}}}:outbox:0"


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def healthy(outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A system with a relay and with work under way, in which nothing is wrong."""
    monkeypatch.setattr(command, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("outbox.verify.setup.OPLOG_HOURS", 0)
    listed(shelf)
    waiting, parsed = shelf.put_file("queued", updated_at=LONG_AGO), shelf.put_file("parsed")
    shelf.put(State.PENDING, key=str(waiting), at=datetime.now(UTC))
    shelf.put(State.COMPLETED, key=str(parsed))
    shelf.put_file("queued", updated_at=datetime.now(UTC))  # its message may be just about to be read
    return outbox


def listed(shelf: Shelf) -> None:
    shelf.db.outbox_relays.insert_one({"_id": "relay-1", "expires_at": datetime.now(UTC) + timedelta(hours=1)})


def published(shelf: Shelf, redis: Any, count: int = 1, **values: Any) -> list[ObjectId]:
    """Messages that were published long ago and whose files wait, with their entries in the stream."""
    ids = []
    for _ in range(count):
        file = shelf.put_file("queued", updated_at=LONG_AGO)
        [id_] = shelf.put(State.PUBLISHED, key=str(file), partition=0, **values)
        entry = redis.xadd(FILE_STREAM, {"file_id": str(file), "message_id": str(id_), "attempt": "1"})
        shelf.db.outbox.update_one({"_id": id_}, {"$set": {"entries": {"first": entry, "last": entry}}})
        ids.append(id_)
    shelf.db.outbox_partitions.update_one({"_id": f"{FILE_STREAM}/0"}, {"$set": {"batch": 1, "tag": "t", "token": 1}})
    redis.hset(CHECKPOINT, mapping={"token": 1, "batch": 1, "tag": "t"})
    if not any(group["name"] == FILE_GROUP for group in redis.xinfo_groups(FILE_STREAM)):
        redis.xgroup_create(FILE_STREAM, FILE_GROUP, "0")
    return ids


def found(cli: Cli, *options: object) -> list[str]:
    return sorted(finding["check"] for finding in cli("verify", *options, "--json").json["findings"])


def only(cli: Cli, check: str, *options: object) -> dict[str, Any]:
    """The one finding, which must tell what it is, what it means and what to do."""
    result = cli("verify", *options, "--json")
    assert result.code == 1
    findings = result.json["findings"]
    assert [finding["check"] for finding in findings] == [check], findings
    finding: dict[str, Any] = findings[0]
    assert finding["what"]
    assert finding["means"]
    assert finding["mend"]
    return finding


def mended_by_command(cli: Cli, finding: dict[str, Any], *more: str) -> None:
    """What it says, typed as it says."""
    words = shlex.split(finding["mend"])
    assert words[0] == "outbox"
    assert cli(*words[1:], *more).code == 0


def mended_by_a_relay(shelf: Shelf, tmp_path: Path) -> None:
    """A real one, in the place of the one that is only in the list."""
    shelf.db.outbox_relays.delete_many({})
    with a_relay(tmp_path / "relay.log", {}, "--once") as relay:
        assert relay.wait(30) == 0, relay.text()
    listed(shelf)


def mended_by_repair(cli: Cli, check: str) -> None:
    result = cli("verify", "--repair", "--json")
    assert result.code == 0, result.json
    assert [f["repaired"] for f in result.json["findings"] if f["check"] == check] == [1]
    assert cli("audit", "--action", "repair", "--json").json["records"][0]["details"]["check"] == check


def test_nothing_is_found_where_all_is_well(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    published(shelf, redis, 3)
    redis.xreadgroup(FILE_GROUP, "w", {FILE_STREAM: ">"}, count=2)  # undelivered and in hand: both are under way
    result = healthy("verify")
    assert (result.code, result.out) == (0, "17 checks, and everything is as it should be\n")
    assert healthy("verify", "--json").json == {"findings": []}


def test_a_file_without_a_message(healthy: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("queued", updated_at=LONG_AGO, folder_id="x")
    finding = only(healthy, "file-without-message")
    assert finding["examples"] == [str(file)]
    shown = healthy("verify").out
    assert f"! {finding['what']}  [file-without-message]\n    {finding['means']}\n" in shown
    assert f"mend it: outbox enqueue {file}  (or --repair)" in shown
    mended_by_command(healthy, finding)
    assert found(healthy) == []
    shelf.db.outbox.delete_many({"key": str(file)})
    shelf.db.files.update_one({"_id": file}, {"$set": {"updated_at": LONG_AGO}})
    mended_by_repair(healthy, "file-without-message")
    assert found(healthy) == []


def test_a_file_whose_message_was_completed_without_it(healthy: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("queued", updated_at=LONG_AGO)
    [id_] = shelf.put(State.COMPLETED, key=str(file))
    finding = only(healthy, "completed-but-waiting")
    mended_by_command(healthy, finding, "--yes")
    assert shelf.states(id_) == ["pending"]
    assert found(healthy, "--pending", "1d") == []
    shelf.db.outbox.update_one({"_id": id_}, {"$set": {"state": "completed"}})
    mended_by_repair(healthy, "completed-but-waiting")


def test_a_file_that_is_settled_while_its_messages_are_read(
    healthy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message is found completed, and so its file was settled, though it was read before as waiting."""
    file = shelf.put_file("queued", updated_at=LONG_AGO)
    shelf.put(State.COMPLETED, key=str(file))
    without_open = subjects._without_open

    async def then_settled(*arguments: Any) -> Any:
        answer = await without_open(*arguments)
        shelf.db.files.update_one({"_id": file}, {"$set": {"parsing": "parsed"}})
        return answer

    monkeypatch.setattr(subjects, "_without_open", then_settled)
    assert found(healthy) == []


def test_messages_about_nothing(healthy: Cli, shelf: Shelf) -> None:
    [id_] = shelf.put(State.SCHEDULED, available_at=datetime.now(UTC) + timedelta(days=1))
    finding = only(healthy, "message-without-file")
    assert finding["examples"] == [str(id_)]
    mended_by_command(healthy, {"mend": finding["mend"].split(",")[0]})
    assert shelf.states(id_) == ["completed"]
    assert found(healthy) == []


def test_dead_messages(healthy: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("error: broken")
    [id_] = shelf.put(State.DEAD, key=str(file))
    finding = only(healthy, "dead")
    assert not finding["repairable"]
    assert "outbox dead list" in finding["mend"]
    assert healthy("dead", "retry", id_).code == 0
    assert "dead" not in found(healthy)


def test_a_dead_message_that_keeps_a_file_waiting(healthy: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("queued", updated_at=LONG_AGO)
    shelf.put(State.DEAD, key=str(file))
    assert found(healthy) == ["dead", "dead-but-queued"]
    [finding] = [f for f in healthy("verify", "--json").json["findings"] if f["check"] == "dead-but-queued"]
    mended_by_command(healthy, {"mend": finding["mend"].split(",")[0]})
    assert found(healthy, "--pending", "1d") == []


def test_a_dead_message_about_nothing(healthy: Cli, shelf: Shelf) -> None:
    [id_] = shelf.put(State.DEAD)
    assert found(healthy) == ["dead", "dead-without-file"]
    [finding] = [f for f in healthy("verify", "--json").json["findings"] if f["check"] == "dead-without-file"]
    mended_by_command(healthy, finding, "--yes")
    assert shelf.states(id_) == ["gone"]
    assert found(healthy) == []


@pytest.mark.parametrize("located", [True, False])
def test_an_entry_that_is_lost(located: bool, healthy: Cli, shelf: Shelf, redis: Any) -> None:
    there, lost = published(shelf, redis, 2)
    [(entry, _)] = redis.xrevrange(FILE_STREAM, count=1)
    redis.xdel(FILE_STREAM, entry)
    if not located:
        shelf.db.outbox.update_many({}, {"$unset": {"entries": ""}})
    finding = only(healthy, "entry-lost")
    assert finding["examples"] == [str(lost)]
    mended_by_command(healthy, finding, "--yes")
    assert shelf.states(there, lost) == ["published", "pending"]
    shelf.db.outbox.update_one({"_id": lost}, {"$set": {"state": "published", "published_at": LONG_AGO}})
    mended_by_repair(healthy, "entry-lost")


def test_an_entry_that_is_gone_because_its_file_is_done(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    [id_] = published(shelf, redis)
    redis.xtrim(FILE_STREAM, maxlen=0)
    shelf.db.files.update_many({}, {"$set": {"parsing": "parsed"}})
    shelf.db.outbox.update_many({"_id": {"$ne": id_}}, {"$set": {"state": "completed"}})
    assert found(healthy) == []


def test_an_entry_that_was_acknowledged_without_a_result(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    in_hand, acknowledged, _ = published(shelf, redis, 3)
    [[_, entries]] = redis.xreadgroup(FILE_GROUP, "w", {FILE_STREAM: ">"}, count=2)
    redis.xack(FILE_STREAM, FILE_GROUP, entries[1][0])
    finding = only(healthy, "acknowledged-unfinished")
    assert finding["examples"] == [str(acknowledged)]
    mended_by_command(healthy, finding, "--yes")
    assert shelf.states(in_hand, acknowledged) == ["published", "pending"]


def test_a_worker_that_is_just_putting_it_right(
    healthy: Cli, shelf: Shelf, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It acknowledged first, and sets the result while verify looks again."""
    published(shelf, redis)
    [[_, entries]] = redis.xreadgroup(FILE_GROUP, "w", {FILE_STREAM: ">"})
    redis.xack(FILE_STREAM, FILE_GROUP, entries[0][0])

    async def result() -> None:
        shelf.db.files.update_many({"updated_at": LONG_AGO}, {"$set": {"parsing": "parsed"}})

    monkeypatch.setattr(command, "_pause", result)
    assert found(healthy) == []


def test_a_partition_that_redis_has_lost(healthy: Cli, shelf: Shelf, redis: Any, tmp_path: Path) -> None:
    published(shelf, redis)
    redis.delete(CHECKPOINT)
    finding = only(healthy, "redis-behind")
    assert "outbox relay" in finding["mend"]
    mended_by_a_relay(shelf, tmp_path)
    assert found(healthy) == []


@pytest.mark.parametrize(
    ("checkpoint", "check"),
    [
        ({"token": 1, "batch": 3, "tag": "x"}, "redis-ahead"),
        ({"token": 1, "batch": 1, "tag": "x"}, "other-history"),
        ({"token": 9, "batch": 1, "tag": "t"}, "token-ahead"),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    checkpoint: dict[str, Any], check: str, healthy: Cli, shelf: Shelf, redis: Any, tmp_path: Path
) -> None:
    published(shelf, redis)
    redis.hset(CHECKPOINT, mapping=checkpoint)
    only(healthy, check)
    mended_by_a_relay(shelf, tmp_path)
    assert found(healthy) == []


def test_a_batch_that_was_published_and_not_marked_yet_is_under_way(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    published(shelf, redis)
    redis.hset(CHECKPOINT, mapping={"batch": 2, "tag": "x"})
    assert found(healthy) == []


def test_messages_of_a_batch_above_the_lease(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    published(shelf, redis)
    shelf.db.outbox.update_many({"state": "published"}, {"$set": {"batch": 7}})
    only(healthy, "batch-above-lease")


def test_what_has_been_pending_for_long(healthy: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("queued")
    [id_] = shelf.put(State.PENDING, key=str(file))
    shelf.db.outbox.update_one({"_id": id_}, {"$set": {"position": Timestamp(int(LONG_AGO.timestamp()), 1)}})
    only(healthy, "pending-old")
    assert found(healthy, "--pending", "3h") == []


def test_no_relay_and_what_it_leaves_undone(healthy: Cli, shelf: Shelf) -> None:
    shelf.db.outbox_relays.delete_many({})
    only(healthy, "no-relay")
    listed(shelf)
    file = shelf.put_file("queued")
    [due] = shelf.put(State.SCHEDULED, key=str(file))
    only(healthy, "overdue")
    mended_by_repair(healthy, "overdue")
    assert shelf.states(due) == ["pending"]


def test_strays(healthy: Cli, shelf: Shelf) -> None:
    [id_] = shelf.put(State.PENDING, stream="nowhere")
    only(healthy, "stray")
    mended_by_repair(healthy, "stray")
    assert shelf.states(id_) == ["dead"]


def test_a_partition_that_is_declared_no_more(healthy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shelf.put_file("queued")
    shelf.put(State.PENDING, key=str(file), partition=7)
    stream = {"name": FILE_STREAM, "group": FILE_GROUP, "subject": {}}
    with monkeypatch.context() as patch:
        patch.setenv("OUTBOX_STREAMS", json.dumps([stream | {"partitions": 8}]))
        assert healthy("init").code == 0
        assert found(healthy) == []
    only(healthy, "undeclared")


def test_a_schema_that_differs(healthy: Cli, shelf: Shelf) -> None:
    shelf.db.outbox.drop_index("pending")
    finding = only(healthy, "schema")
    mended_by_command(healthy, finding)
    assert found(healthy) == []
    shelf.db.command("collMod", "outbox", validator={})
    assert healthy("verify", "--repair").code == 0
    assert found(healthy) == []


def test_a_redis_that_forgets(healthy: Cli, redis: Any) -> None:
    before = redis.config_get("appendonly")["appendonly"]
    try:
        redis.config_set("appendonly", "no")
        redis.config_set("maxmemory-policy", "allkeys-lru")
        assert found(healthy) == ["append-only-file", "eviction"]
        for finding in healthy("verify", "--json").json["findings"]:
            redis.execute_command(*shlex.split(finding["mend"].split(",")[0])[1:])  # as redis-cli would
        assert found(healthy) == []
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("appendonly", before)


def test_groups_and_consumers_that_fell_silent(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    published(shelf, redis, 2)
    redis.xgroup_create(FILE_STREAM, "auditors", "0")
    redis.xreadgroup("auditors", "old", {FILE_STREAM: ">"}, count=1)
    finding = only(healthy, "idle-group", "--idle", "0s")
    redis.execute_command(*shlex.split(finding["mend"])[1:])
    assert found(healthy, "--idle", "0s") == []
    redis.xgroup_destroy(FILE_STREAM, FILE_GROUP)
    only(healthy, "group-missing")


def test_a_consumer_that_died_with_entries_in_hand(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    published(shelf, redis, 2)
    [[_, entries]] = redis.xreadgroup(FILE_GROUP, "dead", {FILE_STREAM: ">"}, count=1)
    redis.xclaim(FILE_STREAM, FILE_GROUP, "dead", 0, [entries[0][0]])
    old = int(timedelta(days=2).total_seconds() * 1000)
    redis.execute_command("XCLAIM", FILE_STREAM, FILE_GROUP, "dead", 0, entries[0][0], "IDLE", old, "JUSTID")
    redis.xgroup_createconsumer(FILE_STREAM, FILE_GROUP, "alive")
    assert found(healthy) == []
    finding = only(healthy, "idle-group", "--idle", "0s")
    assert finding["mend"] == "start its workers"


def test_retention_against_backups(healthy: Cli) -> None:
    assert found(healthy, "--redis-backup", "3d") == []
    finding = only(healthy, "retention", "--redis-backup", "10d")
    assert "OUTBOX_RETENTION_DAYS=10" in finding["mend"]


def test_servers_that_are_away(healthy: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
        assert healthy("verify").code == 3
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:9/?directConnection=true")
    assert healthy("verify").code == 3
