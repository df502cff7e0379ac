"""What a change stream shows of new messages is published without a fetch: once, in order, and only while it is all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId, Timestamp, encode
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument

from outbox.database import OUTBOX, STREAMS
from outbox.protocol import changes
from outbox.protocol.changes import Begun
from outbox.streams.pauses import Pause, Pauses
from outbox_relay.drained import Outcome
from outbox_relay.tail import Tail
from tests.relay.world import PARTITION, STREAM, Owner, World


class Watched:
    """An owner whose partition is watched by a change stream, of which a test decides when it is read."""

    def __init__(self, world: World, tail: Tail, stream: Any) -> None:
        self._world = world
        self._tail = tail
        self._stream = stream
        self.inbox = tail.inbox(PARTITION)

    async def owner(self, **settings: Any) -> Owner:
        return await self._world.owner(inbox=self.inbox, **settings)

    async def see(self, count: int = 1) -> None:
        """Read the stream until it has shown so many changes more."""
        while count > 0:
            seen = await asyncio.wait_for(anext(self._stream), 30)
            self._tail.show(seen)
            count -= 0 if isinstance(seen, Begun) else len(seen)


@asynccontextmanager
async def watched(world: World) -> AsyncIterator[Watched]:
    tail = Tail(lambda _: None)
    async with aclosing(changes.pending(world.database)) as stream:  # type: ignore[type-var]
        tail.show(await anext(stream))
        yield Watched(world, tail, stream)


def without_fetch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch(*_: Any, **__: Any) -> None:
        raise AssertionError("there is nothing to be fetched")

    monkeypatch.setattr(world.store, "fetch", fetch)


async def files(world: World) -> list[str]:
    return [entry["file_id"] for entry in await world.entries()]


async def test_what_is_shown_is_published_without_a_fetch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(world) as watch:
        owner = await watch.owner(relay_batch_size=2)
        await owner.drain_all()
        without_fetch(world, monkeypatch)
        await world.append("f1", "f2", "f1")
        await watch.see(3)
        assert (await owner.drain()).outcome is Outcome.SHOWN
        assert (await owner.drain()).outcome is Outcome.EMPTY
        assert await files(world) == ["f1", "f2", "f1"]


async def test_what_waited_before_the_stream_comes_first(world: World) -> None:
    await world.append("f", filename="before")
    await world.database["files"].insert_one({"_id": "later"})  # so that the stream begins after the message
    async with watched(world) as watch:
        owner = await watch.owner()
        await world.append("f", filename="after")
        await watch.see()
        await owner.drain_all()
        assert [entry["filename"] for entry in await world.entries()] == ["before", "after"]


async def test_what_was_fetched_is_not_published_again_when_it_is_shown(world: World) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await world.append("f1")
        await owner.drain_all()
        await watch.see()
        await world.append("f2")
        await watch.see()
        await owner.drain_all()
        assert await files(world) == ["f1", "f2"]


async def test_what_was_shown_before_a_fetch_is_published_once(world: World) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await world.append("f1")
        await watch.see()
        await owner.drain_all()
        assert await files(world) == ["f1"]


async def test_what_a_fetch_left_over_comes_first(world: World) -> None:
    await world.append(*("f" for _ in range(9)))
    async with watched(world) as watch:
        owner = await watch.owner(relay_batch_size=2)
        for _ in range(4):  # all that one fetch brings
            await owner.drain()
        last = (await world.append("f"))[0]
        await watch.see()
        for _ in range(8):  # not until nothing is left: with something left over and no fetch, that would be never
            await owner.drain()
        assert (await world.published_ids()).index(str(last)) == 9


async def test_a_fetch_is_as_new_as_what_was_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failover, a primary may not know yet that a majority has what the one before has shown."""
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        await world.append("f1")
        await watch.see()
        assert [message.fields["file_id"] for message in watch.inbox.take(1, 1)] == ["f1"]
        watch.inbox.doubt()
        needed = watch.inbox.since
        assert needed
        asked: list[Timestamp] = []
        fetch = world.store.fetch

        async def asking(partition: Any, session: Any, **limits: Any) -> Any:
            asked.append(session.operation_time)
            return await fetch(partition, session, **limits)

        monkeypatch.setattr(world.store, "fetch", asking)
        await owner.drain_all()
        assert asked[0] >= needed
        assert await files(world) == ["f1"]


async def test_what_is_put_back_is_looked_for(world: World) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await world.append("f1")
        await watch.see()
        await owner.drain_all()
        await owner.drainer.finish()
        await world.database[OUTBOX].update_many({}, {"$set": {"state": "pending"}})
        await watch.see()
        await owner.drain_all()
        assert [entry["attempt"] for entry in await world.entries()] == ["1", "2"]


async def test_what_cannot_be_sent_is_fetched_and_buried(world: World) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        message = {"_id": ObjectId(), "schema": 99, "stream": PARTITION.stream, "partition": 0, "state": "pending"}
        message |= {"position": Timestamp(0, 0), "key": "k", "fields": {"a": "b"}, "attempts": 0}
        await world.database[OUTBOX].insert_one(message, bypass_document_validation=True)
        await watch.see()
        await owner.drain_all()
        assert set((await world.states()).values()) == {"dead"}


def _written_around(**values: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"_id": ObjectId(), "schema": 1, "stream": PARTITION.stream, "partition": 0}
    message |= {"position": Timestamp(0, 0), "key": "k", "fields": {"a": "b"}, "headers": {}}
    return message | {"state": "pending", "attempts": 0, "created_at": datetime.now(UTC), **values}


YEAR_33658 = DatetimeMS(10**15)


async def test_what_python_cannot_read_does_not_end_the_stream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A date beyond the year 9999, which the validator takes, and text that is none."""
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        text = encode(_written_around(key="abc")).replace(b"abc", b"\xff\xfec")
        await world.database[OUTBOX].insert_one(RawBSONDocument(text), bypass_document_validation=True)
        await watch.see()
        await owner.drain_all()
        assert await world.database[OUTBOX].count_documents({"state": "dead"}) == 1
        without_fetch(world, monkeypatch)
        await world.database[OUTBOX].insert_one(_written_around(created_at=YEAR_33658))
        await watch.see()
        await owner.drain_all()
        await owner.drainer.finish()
        assert await world.database[OUTBOX].count_documents({"state": "published"}) == 1


async def test_a_date_beyond_python_holds_up_nobody_while_keys_may_be_in_two_partitions(world: World) -> None:
    await world.database[OUTBOX].insert_one(_written_around(created_at=YEAR_33658))
    async with world.client.start_session() as session:
        fetched = await world.store.fetch(PARTITION, session, limit=10, max_bytes=1000, beside=(0, 1))
    assert len(fetched.messages) == 1


async def test_the_stream_shows_only_what_a_fetch_would_find(world: World) -> None:
    """For Python, true is 1; for MongoDB, it is not."""
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        odd = _written_around(partition=bool(PARTITION.number))
        await world.database[OUTBOX].insert_one(odd, bypass_document_validation=True)
        await watch.see()
        assert await owner.drain_all() == 0
        assert set((await world.states()).values()) == {"pending"}


async def test_a_sharded_cluster_is_fetched_from(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its client knows that it is one, or was connected to one server or a load balancer alone."""
    command = world.database.command

    async def from_mongos(name: str) -> dict[str, Any]:
        reply = await command(name)
        return {"msg": "isdbgrid", "operationTime": reply["operationTime"]}

    monkeypatch.setattr(world.database, "command", from_mongos)
    async with watched(world) as watch:
        assert watch.inbox.since is None
        await world.append("f1")
        await watch.see()
        assert not watch.inbox.waiting


async def test_nothing_is_shown_while_keys_may_be_in_two_partitions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await world.append("f0")  # the first append reads the streams
        await owner.drain_all()
        await world.database[STREAMS].update_one({}, {"$set": {"earlier_partitions": [2]}})
        stream = world.streams[PARTITION.stream]
        monkeypatch.setattr(type(stream), "earlier_partitions", (2,))
        await world.append("f1")
        await watch.see()
        without_fetch(world, monkeypatch)
        with pytest.raises(AssertionError, match="fetched"):
            await owner.drain()


async def test_what_waits_while_a_stream_is_paused_is_fetched_after_it(world: World) -> None:
    async with watched(world) as watch:
        owner = await watch.owner(relay_batch_size=1)
        await world.append("f1", "f2", "f3")
        await owner.drain()  # one of three that were fetched together
        world.streams.pauses = Pauses({STREAM.name: Pause(STREAM.name)})
        assert (await owner.drain()).outcome is Outcome.PAUSED
        world.streams.pauses = Pauses()
        await owner.drain_all()
        assert await files(world) == ["f1", "f2", "f3"]


async def test_who_has_lost_the_lease_is_shown_nothing(world: World) -> None:
    """Its successor has published the earlier one; if Redis forgot that, the later one would come first."""
    async with watched(world) as watch:
        owner = await watch.owner()
        await owner.drain_all()
        watch.inbox.doubt()
        successor = await world.owner("next")
        await world.append("f")
        await watch.see()
        await successor.drain_all()
        assert (await owner.drain()).outcome is Outcome.LEASE_LOST
        assert not watch.inbox.joined


async def test_after_trouble_a_fetch_comes_first(world: World) -> None:
    async with watched(world) as watch:
        owner = await watch.owner()
        await world.append("f1")
        await watch.see()
        await owner.drain_all()
        await world.redis.flushall()
        await world.append("f1")
        await watch.see()
        assert (await owner.drain()).outcome is Outcome.REFUSED
        await owner.drain_all()
        assert await files(world) == ["f1", "f1"]
        assert len(set(await world.published_ids())) == 2
