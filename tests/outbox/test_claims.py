"""Claims of jobs, and dead messages, are read a few at a time, however many there are."""

from __future__ import annotations

from bson import ObjectId, encode
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent, CommandSucceededEvent

from outbox import State
from outbox.database import JOBS, OUTBOX, Database, Document
from outbox.operations import dead, jobs
from outbox.operations.selection import Selection
from tests.outbox.shelf import Shelf


class Reads(CommandListener):
    """How many documents each reply from a collection held, and how many bytes they were in all."""

    def __init__(self, collection: str) -> None:
        self._collection = collection
        self.replies: list[int] = []
        self.bytes = 0

    def started(self, event: CommandStartedEvent) -> None:
        pass

    def succeeded(self, event: CommandSucceededEvent) -> None:
        cursor = event.reply.get("cursor", {})
        if str(cursor.get("ns", "")).endswith(f".{self._collection}"):
            found = cursor.get("firstBatch", cursor.get("nextBatch"))
            self.replies.append(len(found))
            self.bytes += sum(len(encode(document)) for document in found)

    def failed(self, event: object) -> None:
        pass


async def test_jobs_of_many_ids_are_not_all_read_for_a_claim(db: Database, mongodb_uri: str) -> None:
    many = Selection(ids=tuple(ObjectId() for _ in range(1000)))
    made = [await jobs.create(db, many, who="anna", rate=1000) for _ in range(12)]
    await db[JOBS].update_one({"_id": made[0].id}, {"$set": {"rate": "by others"}})
    reads = Reads(JOBS)
    async with AsyncMongoClient[Document](mongodb_uri, event_listeners=[reads], tz_aware=True) as client:
        claimed = await jobs.claim(Database(client, db.name), "a")
    assert claimed
    assert claimed.id == made[1].id
    one = len(encode({"ids": many.ids}))
    assert reads.bytes < 3 * one, reads.replies  # the one that cannot be read, and the one that is taken


async def test_dead_messages_come_a_few_at_a_time(db: Database, shelf: Shelf, mongodb_uri: str) -> None:
    """What is done with each takes its time, and MongoDB forgets a cursor that idles for ten minutes."""
    ids = await shelf.put(State.DEAD, 2 * dead.BATCH + 1)
    reads = Reads(OUTBOX)
    async with AsyncMongoClient[Document](mongodb_uri, event_listeners=[reads], tz_aware=True) as client:
        assert {id_ async for id_ in dead.ids(Database(client, db.name))} == {*ids}
    assert reads.replies == [dead.BATCH, dead.BATCH, 1]
