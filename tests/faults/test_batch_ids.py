"""The ids of one batch follow one another on every server: by that it is known what is missing of it."""

from __future__ import annotations

from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import OUTBOX, Document
from outbox.streams.entry_ids import EntryId
from tests.relay.world import a_world

COUNT = 1000
"""So many that a script takes milliseconds for them: on Redis 7.0 its clock goes on meanwhile."""


async def test_ids_of_one_batch_follow_one_another(
    mongo: AsyncMongoClient[Document], reused_with_files: None, database: str, redis: Redis
) -> None:
    async with a_world(mongo, database, redis) as world:
        await world.append(*(f"f{number}" for number in range(COUNT)))
        await (await world.owner(relay_batch_size=COUNT)).drain_all()
        ids = [EntryId.parse(id_) for id_, _ in await world.stream()]
        assert len(ids) == COUNT
        first = ids[0]
        whole = [id_ for id_ in ids if id_.milliseconds == first.milliseconds]
        assert whole == [EntryId(first.milliseconds, first.number + n) for n in range(len(whole))]
        for entries in await world.database[OUTBOX].distinct("entries"):
            begin, end = EntryId.parse(entries["first"]), EntryId.parse(entries["last"])
            assert begin.milliseconds == end.milliseconds
            assert end.number - begin.number + 1 == sum(begin <= id_ <= end for id_ in ids)
