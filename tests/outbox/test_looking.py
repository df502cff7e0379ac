"""What operators find: by search, in a message's story, in figures, on real servers."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from bson import ObjectId
from redis.asyncio import Redis

from outbox.database import Database
from outbox.delivery import groups
from outbox.delivery.groups import Readers
from outbox.message.document import State
from outbox.operations import downtime, reasons, samples, story
from outbox.operations.downtime import Downtime
from outbox.operations.search import Found, Wanted, search
from outbox.streams.declaration import FILES, Streams
from tests.outbox.shelf import Shelf

STREAMS = Streams([FILES])
WRITTEN_AROUND: Any = {"stream": "undeclared", "fields": 3, "headers": None, "created_at": "then", "died_at": "now"}
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def names(found: Found) -> list[Any]:
    return [(hit.file or {}).get("filename") or (hit.message or {}).get("key") for hit in found.hits]


async def put(
    shelf: Shelf, name: str, state: State | None = State.PENDING, **values: Any
) -> tuple[str, ObjectId | None]:
    key = await shelf.put_file("queued")
    await shelf.files.update_one({"_id": ObjectId(key)}, {"$set": {"filename": name}})
    return key, (await shelf.put(state, key=key))[0] if state else None


async def test_a_message_is_found_by_whatever_is_in_hand(shelf: Shelf, db: Database) -> None:
    key, message = await put(shelf, "Quarterly report (1).pdf")
    await put(shelf, "minutes.txt", State.DEAD)
    for text in (
        "Quarterly",
        "quarterly REPORT",
        "report (1)",
        "(1).pdf",
        key,
        key.upper(),
        str(message),
        f" {message} ",
    ):
        found = await search(db, Wanted(text))
        assert names(found) == ["Quarterly report (1).pdf"], text
        assert found.hits[0].message
        assert found.hits[0].message["_id"] == message
    for text in (".*", "Quarterly.report", "nobody", "$where", str(ObjectId())):
        assert names(await search(db, Wanted(text))) == [], text


async def test_a_file_is_found_although_its_message_is_gone(shelf: Shelf, db: Database) -> None:
    key, _ = await put(shelf, "old.pdf", None)
    for text in ("old", key):
        (hit,) = (await search(db, Wanted(text))).hits
        assert hit.message is None
        assert str((hit.file or {})["_id"]) == key


async def test_state_and_time_narrow_a_search_page_by_page(shelf: Shelf, db: Database) -> None:
    now = datetime.now(UTC)
    old = await shelf.put(State.DEAD, at=now - timedelta(hours=5))
    new = await shelf.put(State.DEAD, 60, at=now - timedelta(hours=1))
    await shelf.put(State.PENDING, at=now - timedelta(hours=1))
    first = await search(db, Wanted(state=State.DEAD, since=now - timedelta(hours=2)))
    assert len(first.hits) == 50
    assert first.before
    second = await search(db, Wanted(state=State.DEAD, since=now - timedelta(hours=2), before=first.before))
    assert second.before is None
    ids = [hit.message["_id"] for hit in (*first.hits, *second.hits) if hit.message]
    assert ids == sorted(new, reverse=True)
    (only,) = (await search(db, Wanted(until=now - timedelta(hours=2)))).hits
    assert only.message
    assert only.message["_id"] == old[0]


async def test_a_story_follows_the_message_into_the_stream_and_to_its_worker(
    shelf: Shelf, db: Database, redis: Redis
) -> None:
    key, message = await put(shelf, "a.pdf")
    assert message

    async def told() -> story.Story:
        return await story.tell(db, redis, STREAMS, message)

    assert "waits in MongoDB" in (await told()).sentence()
    entry = await redis.xadd(FILES.name, {"file_id": key, "message_id": str(message), "attempt": "1"})
    await redis.xgroup_create(FILES.name, FILES.group, "0")
    published = {"state": "published", "attempts": 1, "published_at": datetime.now(UTC)}
    await shelf.messages.update_one({"_id": message}, {"$set": published})
    now = await told()
    assert (now.delivery.entry, now.delivery.delivered) == (entry, False)
    assert "no worker has been given it yet" in now.sentence()

    await redis.xreadgroup(FILES.group, "worker-7", {FILES.name: ">"})
    now = await told()
    assert (now.delivery.consumer, now.delivery.deliveries) == ("worker-7", 1)
    assert "worker-7 has it" in now.sentence()

    await redis.xack(FILES.name, FILES.group, entry)
    now = await told()
    assert now.wanted
    assert "acknowledged it without a result, and its file still waits: a relay publishes it again" in now.sentence()

    # Without a record of where its batch was, an entry is looked for near its time, and may stand elsewhere.
    await redis.delete(FILES.name)
    assert "outbox verify looks everywhere" in (await told()).sentence()
    await shelf.messages.update_one({"_id": message}, {"$set": {"entries": {"first": entry, "last": entry}}})
    assert "no longer in the stream. Its file still waits: a relay publishes it again" in (await told()).sentence()
    await shelf.files.update_one({"_id": ObjectId(key)}, {"$set": {"parsing": "parsed"}})
    assert "is parsed: nobody waits for it now" in (await told()).sentence()
    assert [step.what for step in now.steps if step.at] == ["Appended", "Published"]


async def test_an_entry_is_found_behind_more_than_ten_thousand_others(shelf: Shelf, db: Database, redis: Redis) -> None:
    key, message = await put(shelf, "a.pdf")
    await redis.xgroup_create(FILES.name, FILES.group, "0", mkstream=True)
    async with redis.pipeline(transaction=False) as pipe:
        for number in range(12_000):
            pipe.xadd(FILES.name, {"file_id": str(number), "message_id": str(ObjectId()), "attempt": "1"})
        entries = await pipe.execute()
    entry = await redis.xadd(FILES.name, {"file_id": key, "message_id": str(message), "attempt": "1"})
    batch = {"first": entries[0], "last": entry}
    published = {"state": "published", "attempts": 1, "published_at": datetime.now(UTC), "entries": batch}
    await shelf.messages.update_one({"_id": message}, {"$set": published})
    now = await story.tell(db, redis, STREAMS, cast(ObjectId, message))
    assert now.delivery.entry == entry
    assert "no worker has been given it yet" in now.sentence()


async def test_a_story_is_told_of_whatever_is_stored(shelf: Shelf, db: Database, redis: Redis) -> None:
    (message,) = await shelf.put(State.DEAD, **WRITTEN_AROUND)
    await shelf.messages.update_one({"_id": message}, {"$set": {"key": 7}}, bypass_document_validation=True)
    told = await story.tell(db, redis, STREAMS, message)
    assert told.stream is None
    assert told.trace_id is None
    assert "It is dead: cannot be sent" in told.sentence()


async def test_reasons_that_differ_in_numbers_are_one(shelf: Shelf, db: Database) -> None:
    for number in range(4):
        await shelf.put(State.DEAD, last_error=f"row {number} of {ObjectId()} is empty")
    (other,) = await shelf.put(State.DEAD, last_error="no room")
    first, second = await reasons.reasons(db)
    assert (first.text, first.count) == ("row … of … is empty", 4)
    assert (second.text, second.count, second.example) == ("no room", 1, other)


async def test_reasons_are_those_of_so_many_dead_messages_at_most(
    shelf: Shelf, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reasons, "COUNTED", 3, raising=False)
    await shelf.put(State.DEAD, 2, last_error="no room", at=datetime.now(UTC) - timedelta(days=2))
    await shelf.put(State.DEAD, 2, last_error="too large")
    assert [(reason.text, reason.count) for reason in await reasons.reasons(db)] == [("too large", 2), ("no room", 1)]


async def test_groups_and_their_consumers_are_seen(redis: Redis) -> None:
    assert await groups.collect(redis, STREAMS) == {FILES.name: Readers(added=0)}
    await redis.xgroup_create(FILES.name, FILES.group, "0", mkstream=True)
    await redis.xadd(FILES.name, {"a": "b"})
    await redis.xadd(FILES.name, {"a": "b"})
    await redis.xreadgroup(FILES.group, "w", {FILES.name: ">"}, count=1)
    readers = (await groups.collect(redis, STREAMS))[FILES.name]
    (group,) = readers.groups
    assert (readers.added, group.declared, group.undelivered, group.unacknowledged) == (2, True, 1, 1)
    assert [(c.name, c.unacknowledged) for c in group.consumers] == [("w", 1)]


async def test_what_a_consumer_holds_is_seen(redis: Redis) -> None:
    """The first of its entries, of which message that is, and for how long nobody gave a sign of life."""
    await redis.xgroup_create(FILES.name, FILES.group, "0", mkstream=True)
    first, second = str(ObjectId()), str(ObjectId())
    for fields in ({"message_id": first}, {"message_id": second}, {"message_id": "../../health/live"}):
        await redis.xadd(FILES.name, cast(Any, fields))
    read: Any = await redis.xreadgroup(FILES.group, "w-1", {FILES.name: ">"}, count=2)
    entries = read[0][1]
    await redis.xreadgroup(FILES.group, "w-2", {FILES.name: ">"}, count=1)
    await redis.xgroup_createconsumer(FILES.name, FILES.group, "w-3")
    claimed = time.monotonic()
    await redis.xclaim(FILES.name, FILES.group, "w-1", 0, [entries[1][0]], idle=90_000, justid=True)
    (group,) = (await groups.collect(redis, STREAMS))[FILES.name].groups
    since = time.monotonic() - claimed
    one, two, three = sorted(group.consumers, key=lambda consumer: consumer.name)
    assert (one.oldest, one.message) == (entries[0][0], first)
    assert 90 <= one.silent_seconds < 90.5 + since
    assert one.published is not None
    assert abs(datetime.now(UTC) - one.published) < timedelta(minutes=5)
    assert two.oldest is not None
    assert two.message is None, "others added it"
    assert (three.oldest, three.published, three.silent_seconds) == (None, None, 0.0)


async def test_a_sample_has_the_delays_of_what_was_published_since(shelf: Shelf, db: Database, redis: Redis) -> None:
    now = datetime.now(UTC)
    await shelf.put(State.PUBLISHED, at=now - timedelta(seconds=9), published_at=now - timedelta(seconds=7))
    await shelf.put(State.PUBLISHED, at=now - timedelta(hours=1))
    await shelf.put(State.PUBLISHED, at=now - timedelta(seconds=9), published_at=now, attempts=2)
    # By a worker, before it was marked.
    then, done = now - timedelta(seconds=9), now - timedelta(seconds=4)
    await shelf.put(State.COMPLETED, at=then, published_at=None, completed_at=done)
    sample = await samples.take(db, redis, STREAMS, since=now - timedelta(seconds=30))
    assert sorted(round(delay, 1) for delay in sample.delays) == [2.0, 5.0]
    assert (sample.kept, sample.added) == (4, 0)


async def test_outages_are_kept_and_those_of_several_relays_are_one(db: Database) -> None:
    await downtime.record(db, "redis", 0.2, 3)
    assert await downtime.latest(db) == [], "a flicker is no news"
    await downtime.record(db, "redis", 30.0, 3)
    await downtime.record(db, "redis", 29.5, 8)
    await downtime.record(db, "mongodb", 5.0, None)
    kept = downtime.merged(await downtime.latest(db))
    assert sorted((o.server, o.waited) for o in kept) == [("mongodb", None), ("redis", 8)]


def test_an_outage_that_lasts_is_not_over_because_one_relay_is_through() -> None:
    hour = timedelta(hours=1)
    ours = Downtime("redis", NOW)
    theirs = Downtime("redis", NOW + timedelta(seconds=1), NOW + hour)
    earlier = Downtime("redis", NOW - 2 * hour, NOW - hour, 4)
    assert downtime.merged([theirs, ours, earlier]) == [ours, earlier]
