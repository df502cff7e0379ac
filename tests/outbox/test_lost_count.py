"""The diagnosis where Redis has lost count of what a group was not given, as after an entry ahead of it was deleted."""

from __future__ import annotations

from dataclasses import replace

from redis.asyncio import Redis

from outbox.database import Database
from outbox.delivery.depth import Depth
from outbox.delivery.groups import Consumer, Group, Readers
from outbox.operations import diagnosis, samples
from outbox.operations.diagnosis import Level
from outbox.operations.stats import Queue
from outbox.streams.declaration import FILES, Streams
from tests.outbox.test_diagnosis import NOW, OLD, STREAMS, a_sample, counts

NOBODY = {FILES.name: Readers((Group(FILES.group, True, None, 0, ()),), 5)}
SOMEBODY = {FILES.name: Readers((Group(FILES.group, True, None, 0, (Consumer("w", 0, 1.0),)),), 5)}


def a_queue(length: int | None, undelivered: int | None) -> Queue:
    return Queue({FILES.name: Depth(length, undelivered, 0)}, True, None, "noeviction")


def test_entries_that_were_counted_one_by_one_wait_for_a_worker() -> None:
    [first] = diagnosis.diagnose(a_sample(readers=NOBODY, queue=a_queue(9, 3)), STREAMS)
    assert (first.name, first.level) == ("no-worker", Level.BROKEN)
    assert first.seen.startswith("3 entries of file_parsing_queue wait")


def test_more_than_were_counted_wait_for_a_worker() -> None:
    [first] = diagnosis.diagnose(a_sample(readers=NOBODY, queue=a_queue(5000, None)), STREAMS)
    assert first.seen.startswith("More than 1,000 entries of file_parsing_queue wait, and no worker has ever asked")


def test_while_entries_wait_nothing_was_acknowledged_without_a_result() -> None:
    for queue in (a_queue(9, 3), a_queue(5000, None)):
        [first] = diagnosis.diagnose(a_sample(readers=SOMEBODY, queue=queue, queued=(OLD,)), STREAMS)
        assert first.level is Level.WELL


def test_where_all_were_given_nothing_waits() -> None:
    for queue in (a_queue(9, 0), a_queue(None, None)):
        [first] = diagnosis.diagnose(a_sample(readers=NOBODY, queue=queue), STREAMS)
        assert first.level is Level.WELL


def test_a_full_stream_is_no_partition_that_stands_still() -> None:
    streams = Streams([replace(FILES, max_undelivered=2000)])
    waits = {"readers": SOMEBODY, "oldest_pending_seconds": 90.0, "messages": counts(pending=1)}
    [first] = diagnosis.diagnose(a_sample(**waits, queue=a_queue(2000, None)), streams)
    assert (first.name, first.seen) == (
        "stream-full", "file_parsing_queue has more than 1,000 entries that no worker has; the rest waits in MongoDB."
    )  # fmt: skip
    [first] = diagnosis.diagnose(a_sample(**waits, queue=a_queue(1500, None)), streams)
    assert first.name == "pending-old"


async def test_a_sample_of_a_real_redis_has_what_the_diagnosis_needs(
    db: Database, redis: Redis, streams: Streams
) -> None:
    await redis.xgroup_create(FILES.key, FILES.group, "0", mkstream=True)
    entries = [await redis.xadd(FILES.key, {"a": "b"}) for _ in range(4)]
    await redis.xdel(FILES.key, entries[1])
    sample = await samples.take(db, redis, streams, since=NOW)
    assert sample.readers[FILES.name].groups[0].undelivered is None, "Redis has lost count"
    assert any(one.seen.startswith("3 entries of") for one in diagnosis.diagnose(sample, streams))
