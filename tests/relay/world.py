"""A world of one database, one Redis and any number of owners, in which a test schedules every step by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from bson import ObjectId
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import Outbox, errors
from outbox.database import OUTBOX, PARTITIONS, Database, Document
from outbox.protocol.checkpoint import Checkpoints
from outbox.protocol.leases import Lease, Leases, Progress
from outbox.protocol.losses import Losses
from outbox.protocol.ownership import own
from outbox.protocol.store import Store
from outbox.servers.topology import AnyRedis
from outbox.settings import load
from outbox.streams.declaration import Partition, Stream, Streams, Subject
from outbox_api.collections import FILES_APPLICATION
from outbox_relay.drained import Drained, Outcome
from outbox_relay.drainer import Drainer
from outbox_relay.recovery import Recovery
from outbox_relay.settings import RelaySettings
from outbox_relay.tail import Inbox
from tests.databases import set_up

STREAM = Stream("file_parsing_queue", "file_parsers", partitions=1, subject=Subject())
PARTITION = Partition(STREAM.name, 0)

MOST_REFUSED = 100
"""Passes in a row. Two or three are a recovery's; without some protection, a partition reconciles for ever."""


@dataclass
class Owner:
    """A relay's view of the one partition: its lease and its drainer, moved step by step."""

    leases: Leases
    drainer: Drainer

    @property
    def lease(self) -> Lease:
        """Under its latest token."""
        return self.drainer.lease

    async def drain(self) -> Drained:
        return await self.drainer.run_once()

    async def drain_all(self) -> int:
        """Pass after pass until nothing is left; returns how many messages were published."""
        published = refused = 0
        while refused < MOST_REFUSED:
            drained = await self.drain()
            published += drained.published
            refused = refused + 1 if drained.outcome is Outcome.REFUSED else 0
            if drained.outcome in (Outcome.EMPTY, Outcome.FULL, Outcome.BLOCKED, Outcome.LEASE_LOST):
                return published
        raise AssertionError(f"{refused} passes one after the other were refused: the partition stands still")


class World:
    """What a test sees and does."""

    def __init__(
        self, client: AsyncMongoClient[Document], database: str, redis: AnyRedis, streams: Streams, ours: errors.Owner
    ) -> None:
        self.client = client
        self.database: Database = Database(client, database)
        self.redis = cast(Redis, redis)  # a cluster's client has the same commands
        self.streams = streams
        self.ours = ours
        self.outbox = Outbox(streams, database=database)
        self.store = Store(self.database)
        self.losses = Losses(self.database, streams)
        self.checkpoints = Checkpoints(redis, streams, ours)
        self._owners: list[Owner] = []

    async def owner(
        self,
        name: str = "a",
        *,
        seconds: float = 10,
        inbox: Inbox | None = None,
        know_pauses: Callable[[], Awaitable[None]] | None = None,
        many: Callable[[Partition], None] = lambda _: None,
        **settings: Any,
    ) -> Owner:
        """A new owner of the partition; an earlier one's lease runs out, and it is not told.

        It looks at its checkpoint again when a test has it look, and not because a test took long (see `notice`).
        """
        await self.database[PARTITIONS].update_one({"_id": str(PARTITION)}, {"$set": {"owner": None}})
        leases = Leases(self.database, self.streams, name, seconds=seconds)
        lease = await leases.acquire(PARTITION)
        assert lease
        recovery = Recovery(self.database, self.store, self.losses, self.checkpoints, leases, many=many)
        drainer = Drainer(
            lease,
            lambda: True,
            self.client,
            self.store,
            self.checkpoints,
            leases,
            recovery,
            load(RelaySettings, **{"relay_verify_seconds": 3600.0, **settings}),
            inbox,
            know_pauses=know_pauses,
        )
        owner = Owner(leases, drainer)
        self._owners.append(owner)
        return owner

    async def append(self, *keys: str, stream: str = STREAM.name, **fields: str) -> list[ObjectId]:
        """One transaction and one message a key; keys name files, which are written as `queued` with it."""
        ids = []
        for key in keys:

            async def body(session: Any, key: str = key) -> ObjectId:
                await self.database.files.update_one(
                    {"_id": _file_id(key)}, {"$set": {"parsing": "queued"}}, upsert=True, session=session
                )
                appended: ObjectId = await self.outbox.append(session, stream, {"file_id": key, **fields}, key=key)
                return appended

            async with self.client.start_session() as session:
                ids.append(await session.with_transaction(body))
        return ids

    async def settle(self, *keys: str) -> None:
        """What a worker does that knows nothing of us."""
        for key in keys:
            await self.database.files.update_one({"_id": _file_id(key)}, {"$set": {"parsing": "parsed"}})

    async def stream(self) -> list[tuple[str, dict[str, str]]]:
        return cast(list[tuple[str, dict[str, str]]], await self.redis.xrange(STREAM.name))

    async def entries(self) -> list[dict[str, str]]:
        return [fields for _, fields in await self.stream()]

    async def published_ids(self) -> list[str]:
        return [entry["message_id"] for entry in await self.entries()]

    async def states(self) -> dict[ObjectId, str]:
        return {message["_id"]: message["state"] async for message in self.database[OUTBOX].find()}

    async def lease(self) -> Document:
        found = await self.database[PARTITIONS].find_one({"_id": str(PARTITION)})
        assert found
        return found

    async def progress(self) -> Progress:
        lease = await self.lease()
        return Progress(lease["batch"], lease["tag"])

    async def remember(self) -> dict[str, bytes]:
        """A copy of all that Redis has, as a backup or a replica that is late."""
        async with self._binary() as binary:
            keys = cast(list[bytes], await binary.keys("*"))
            return {key.decode(): cast(bytes, await binary.dump(key)) for key in keys}

    async def restore(self, copy: dict[str, bytes]) -> None:
        """Redis has what it had then, and nothing since."""
        async with self._binary() as binary:
            await binary.flushall()
            for key, value in copy.items():
                await binary.restore(key, 0, value)

    def _binary(self) -> Redis:
        address = self.redis.connection_pool.connection_kwargs
        return Redis(host=address["host"], port=address["port"])

    async def close(self) -> None:
        for owner in self._owners:
            await owner.drainer.close()


def _file_id(key: str) -> Any:
    return ObjectId(key) if ObjectId.is_valid(key) else key


@asynccontextmanager
async def a_world(
    client: AsyncMongoClient[Document], database: str, redis: AnyRedis, streams: Iterable[Stream] = (STREAM,)
) -> AsyncIterator[World]:
    declared = Streams(streams)
    await set_up(Database(client, database), declared, FILES_APPLICATION)
    world = World(client, database, redis, declared, await own(Database(client, database)))
    try:
        yield world
    finally:
        await world.close()


@asynccontextmanager
async def remembering(client: AsyncMongoClient[Document]) -> AsyncIterator[None]:
    """MongoDB remembers for some minutes, as by default, and not for seconds, as that of the tests."""
    name = "minSnapshotHistoryWindowInSeconds"
    before = await client.admin.command({"getParameter": 1, name: 1})
    await client.admin.command({"setParameter": 1, name: 300})
    try:
        yield
    finally:
        await client.admin.command({"setParameter": 1, name: before[name]})


async def notice(owner: Owner) -> int:
    """An idle owner's next look; returns how many messages it published again."""
    owner.drainer.doubt()
    assert (await owner.drain()).outcome is Outcome.REFUSED
    return await owner.drain_all()
