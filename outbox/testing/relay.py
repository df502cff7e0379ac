"""The relay of a test: outbox_relay's own drainers, moved by hand."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from bson import ObjectId

from outbox.database import OUTBOX, PARTITIONS, STREAMS, Database
from outbox.errors import UsageError
from outbox.message import schema, transitions
from outbox.message.document import State
from outbox.protocol.ownership import own
from outbox.servers.connections import connect_mongo, connect_redis, open_database
from outbox.settings import OutboxSettings
from outbox.streams import registry
from outbox.streams.declaration import Partition, Streams

if TYPE_CHECKING:
    from outbox_relay.by_hand import RelayByHand


class Relay:
    """Lives in one event loop, from `start` to `close`."""

    def __init__(self, database: Database, relay: RelayByHand, streams: Streams, open_: AsyncExitStack) -> None:
        self._database = database
        self._relay = relay
        self._open = open_
        self.streams = streams

    @classmethod
    async def start(cls, settings: OutboxSettings, streams: Streams) -> Relay:
        """Set up the database, and connect."""
        try:
            from outbox_relay.by_hand import RelayByHand
        except ImportError as error:
            raise UsageError(f"{error}; for tests, install: pip install 'outbox-relay[testing]'") from error
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(connect_mongo(settings))
            redis = connect_redis(settings)
            stack.push_async_callback(redis.aclose)
            database = open_database(client, settings.place)
            await _withdraw(database)
            await schema.ensure(database, streams)
            registered = await registry.agree(database, streams)
            relay = RelayByHand(client, database, redis, registered, await own(database))
            return cls(database, relay, registered, stack.pop_all())

    async def register(self) -> None:
        """Register the streams anew, in place of those that another kit has registered."""
        await _withdraw(self._database)
        await registry.register(self._database, self.streams.declared())

    async def drain(self, handled: Collection[ObjectId] = ()) -> int:
        """Publish what is due, but for messages that were `handled` and wait for their next try; returns how many."""
        guard, change = transitions.stage()
        await self._database[OUTBOX].update_many({**guard, "_id": {"$nin": list(handled)}}, change)
        return await self._relay.drain(await self._waiting())

    async def _waiting(self) -> list[Partition]:
        pending = {"$match": {"state": State.PENDING.value}}
        by_partition = {"$group": {"_id": {"stream": "$stream", "number": "$partition"}}}
        found = await self._database[OUTBOX].aggregate([pending, by_partition])
        return [Partition(one["_id"]["stream"], one["_id"]["number"]) async for one in found]

    async def forget(self) -> None:
        """Forget what is known of the partitions: the servers are emptied."""
        await self._relay.forget()

    async def close(self) -> None:
        await self._relay.forget()
        await self._open.aclose()


async def _withdraw(database: Database) -> None:
    """No stream is registered then, as no other kit has a say in what this one declares."""
    for name in (STREAMS, PARTITIONS):
        await database[name].delete_many({})
