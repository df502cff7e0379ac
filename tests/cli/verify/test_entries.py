"""Entries, groups and consumers in Redis."""

from __future__ import annotations

import json
import shlex
import threading
from typing import Any

import pytest

from outbox.cli import verify as command
from outbox.streams.declaration import FILE_GROUP, FILE_STREAM
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import LONG_AGO, found, mended_by_command, mended_by_repair, only, published
from tests.waiting import eventually_sync


@pytest.mark.parametrize("located", [True, False])
def test_an_entry_that_is_lost(located: bool, healthy: Cli, shelf: Shelf, redis: Any) -> None:
    there, lost = published(shelf, redis, 2)
    [(entry, _)] = redis.xrevrange(FILE_STREAM, count=1)
    redis.xdel(FILE_STREAM, entry)
    if not located:
        shelf.db.outbox.update_one({"_id": lost}, {"$unset": {"entries": ""}})
    finding = only(healthy, "entry-lost")
    assert finding["examples"] == [str(lost)]
    mended_by_command(healthy, finding, "--yes")
    assert shelf.states(there, lost) == ["published", "pending"]
    shelf.db.outbox.update_one({"_id": lost}, {"$set": {"state": "published", "published_at": LONG_AGO}})
    mended_by_repair(healthy, "entry-lost")


@pytest.mark.parametrize("located", [True, False])
def test_the_entry_of_an_earlier_attempt_does_not_hide_a_lost_one(
    located: bool, healthy: Cli, shelf: Shelf, redis: Any
) -> None:
    """It is there for a group of another program, which has not read it yet."""
    [lost] = published(shelf, redis)
    [(entry, _)] = redis.xrange(FILE_STREAM)
    redis.xgroup_setid(FILE_STREAM, FILE_GROUP, entry)
    redis.xgroup_create(FILE_STREAM, "theirs", "0")
    again = redis.xadd(FILE_STREAM, {"file_id": "f", "message_id": str(lost), "attempt": "2"})
    redis.xdel(FILE_STREAM, again)
    values: dict[str, Any] = {"attempts": 2, "entries": {"first": entry, "last": again}}
    shelf.db.outbox.update_one({"_id": lost}, {"$set": values})
    if not located:
        shelf.db.outbox.update_one({"_id": lost}, {"$unset": {"entries": ""}})
    assert only(healthy, "entry-lost")["examples"] == [str(lost)]


def test_entries_of_which_nobody_recorded_where_they_are(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    """As a version before published them. A repair records it."""
    published(shelf, redis)
    shelf.db.outbox.update_many({}, {"$unset": {"entries": ""}})
    only(healthy, "entries-not-recorded")
    mended_by_repair(healthy, "entries-not-recorded")
    assert shelf.db.outbox.count_documents({"state": "published", "entries.first": {"$exists": True}}) == 1


def test_entries_that_are_gone_and_that_nobody_is_known_to_have_acknowledged(
    healthy: Cli, shelf: Shelf, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a stream without a subject. The status says so, too."""
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([{"name": FILE_STREAM, "group": FILE_GROUP}]))
    shelf.db.outbox_streams.delete_many({})
    assert healthy("init").code == 0
    shelf.db.files.delete_many({})
    gone, _ = published(shelf, redis, 2)
    [[_, entries]] = redis.xreadgroup(FILE_GROUP, "w", {FILE_STREAM: ">"})
    redis.xdel(FILE_STREAM, entries[0][0])
    finding = only(healthy, "entry-unaccounted")
    assert finding["examples"] == [str(gone)]
    [warning] = [each for each in healthy("status", "--json").json["redis"]["warnings"] if "no entry any more" in each]
    assert warning.startswith("1 message(s)")
    mended_by_command(healthy, finding, "--yes")
    assert shelf.states(gone) == ["pending"]


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
    redis.xreadgroup(FILE_GROUP, "dead", {FILE_STREAM: ">"}, count=1)
    [[_, [(held, _)]]] = redis.xreadgroup(FILE_GROUP, "alive", {FILE_STREAM: ">"}, count=1)
    done = threading.Event()

    def show_life() -> None:
        while not done.wait(0.05):
            # A read that finds nothing would not count: before 7.2, Redis notes only what a consumer was given.
            redis.xclaim(FILE_STREAM, FILE_GROUP, "alive", 0, [held], justid=True)

    alive = threading.Thread(target=show_life)
    alive.start()
    try:
        assert found(healthy) == []

        def silent() -> bool:
            consumers = redis.xinfo_consumers(FILE_STREAM, FILE_GROUP)
            return any(consumer["name"] == "dead" and consumer["idle"] > 6000 for consumer in consumers)

        # By the server's word: there is no other way to be old. This process is not held up for so long itself.
        eventually_sync(silent, 20)
        finding = only(healthy, "idle-consumer", "--idle", "6s")
        assert (finding["count"], finding["examples"]) == (1, ["dead"])
        words = shlex.split(finding["mend"].replace("ANOTHER", "alive"))
        assert words[-2] == "COUNT"
        redis.execute_command(*words[1:])
        assert found(healthy, "--idle", "6s") == []
    finally:
        done.set()
        alive.join()
    assert {consumer["name"]: consumer["pending"] for consumer in redis.xinfo_consumers(FILE_STREAM, FILE_GROUP)} == {
        "alive": 2,
        "dead": 0,
    }
    # When the living one falls silent as well, it is the group's workers that are away.
    finding = only(healthy, "idle-group", "--idle", "0s")
    assert finding["mend"] == "start its workers"


def test_an_entry_of_others_that_can_be_no_message(healthy: Cli, redis: Any) -> None:
    redis.xgroup_create(FILE_STREAM, FILE_GROUP, "0", mkstream=True)
    odd = redis.xadd(FILE_STREAM, {b"caf\xe9": b"\xff"})
    odd = odd.decode() if isinstance(odd, bytes) else odd
    redis.xadd(FILE_STREAM, {"file_id": "f1"})
    finding = only(healthy, "entry-no-message")
    assert finding["examples"] == [odd]
    assert r"caf\xe9" in finding["what"]
    assert odd in finding["mend"]
