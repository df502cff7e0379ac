"""The real world: servers, relays at their gates, and all that others do in the model."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from bson import ObjectId, decode
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import OUTBOX, PARTITIONS, Document
from outbox.message import transitions
from outbox.message.document import Sent
from outbox.protocol import fences
from outbox.protocol.changes import Begun, Change, pending
from outbox.protocol.checkpoint import Checkpoints
from outbox.protocol.script import Script
from outbox.protocol.tags import LETTERS
from outbox.streams.declaration import Partition
from outbox.streams.entry_ids import EntryId
from outbox.streams.keys import record_key
from outbox_relay.tail import Tail
from tests.conformance.actor import Actor, Late
from tests.conformance.gates import LastingSessions
from tests.model import world as model
from tests.model.rules import Bounds
from tests.model.world import UNKNOWN, Checkpoint, Lease, Left, Message, Redis, Relay, Request, State
from tests.relay.world import PARTITION, STREAM, World

CHECKPOINT, RECORD = STREAM.checkpoint_key(0), record_key(STREAM.key)


class Real:
    """One trace's world. Relays are known by the tokens that they have in the model."""

    def __init__(self, world: World, bounds: Bounds) -> None:
        self._world, self._bounds = world, bounds
        self._sessions = LastingSessions(world.client)
        self._ids: dict[int, ObjectId] = {}
        self._open: dict[int, AsyncClientSession] = {}
        self._saved: tuple[dict[str, bytes], Redis] | None = ({}, Redis()) if bounds.losses else None
        self._backup: tuple[dict[str, list[Document]], tuple[tuple[Message, ...], Lease]] | None = None
        self._documents: dict[ObjectId, Document] = {}
        self._stream: list[tuple[str, dict[str, str]]] = []
        self._others = 0
        self._begun: Begun | None = None
        self._changes: AsyncIterator[Begun | Sequence[Change]] | None = None
        self._tails: dict[Actor, Tail] = {}
        self.actors: dict[int, Actor] = {}
        self.flying: list[tuple[Relay, Late, int]] = []

    async def begin(self) -> None:
        """Empty servers, and what is there from the start."""
        for collection in (OUTBOX, "files"):
            await self._world.database[collection].delete_many({})
        await self._reset_leases()
        await self._world.redis.flushall()
        if self._bounds.tail:
            self._changes = pending(self._world.database)
            begun = await anext(self._changes)
            assert isinstance(begun, Begun)
            self._begun = begun
        # Each gets its position now, in the order of the messages; others commit in between, and in another order.
        for i in range(len(self._bounds.keys)):
            await self._insert(i)
        for i in range(self._bounds.early):
            await self.append(i)

    async def close(self) -> None:
        await self.stop()
        if self._changes:
            await cast(Any, self._changes).aclose()
        for session in self._open.values():
            await session.end_session()
        await self._sessions.close()

    async def stop(self) -> None:
        """All relays, with all that is on its way."""
        for actor in self.actors.values():
            await actor.kill()
        self.actors.clear()
        self.flying.clear()

    async def acquire(self, token: int) -> None:
        tail = Tail(lambda _: None)
        if self._begun:
            tail.show(self._begun)
        actor = Actor(self._world, self._sessions, self._bounds.batch, tail.inbox(PARTITION))
        self.actors[token], self._tails[actor] = actor, tail
        await actor.acquire(f"relay {token}")

    async def _insert(self, i: int) -> None:
        world, subject, key = self._world, f"f{i}", model.name(self._bounds.keys, i)[0]
        session = self._open[i] = world.client.start_session()
        await session.start_transaction()
        await world.database.files.insert_one({"_id": subject, "parsing": "queued"}, session=session)
        fields = {"file_id": subject}
        self._ids[i] = await world.outbox.append(session, STREAM.name, fields, key=key, subject=subject)

    async def append(self, i: int) -> None:
        """Commit it."""
        session = self._open.pop(i)
        await session.commit_transaction()
        await session.end_session()
        if self._changes:
            await self._show(self._changes, self._ids[i])

    async def _show(self, changes: AsyncIterator[Begun | Sequence[Change]], message: ObjectId) -> None:
        """The change streams of all relays show the commit. What else they show may come late, and is left out."""
        while True:
            seen = await anext(changes)
            new = [change for change in cast(Sequence[Change], seen) if change.new]
            for actor in self.actors.values():
                self._tails[actor].show(new)
            if any(decode(cast(bytes, change.new))["_id"] == message for change in new):
                return

    async def complete(self, i: int, attempt: int) -> None:
        done = await self._world.database[OUTBOX].update_one(*transitions.complete(Sent(self._ids[i], attempt)))
        assert done.modified_count == 1

    async def settle(self, i: int) -> None:
        done = await self._world.database.files.update_one({"_id": f"f{i}"}, {"$set": {"parsing": "parsed"}})
        assert done.modified_count == 1

    async def replay(self, i: int) -> None:
        done = await self._world.database[OUTBOX].update_many(*transitions.replay([self._ids[i]], {}))
        assert done.modified_count == 1

    async def copy_redis(self) -> None:
        self._saved = (await self._world.remember(), await self._redis())

    async def restore_redis(self) -> None:
        assert self._saved
        copy, _ = self._saved
        await self.copy_redis()
        await self._world.restore(copy)

    def forget_copy(self) -> None:
        self._saved = None

    async def delete_stream(self) -> None:
        await self._world.redis.delete(STREAM.key)

    async def delete_checkpoint(self) -> None:
        await self._world.redis.delete(CHECKPOINT)

    async def open_another_partition(self) -> None:
        self._others += 1
        checkpoints: Checkpoints = self._world.checkpoints
        await checkpoints.open(Partition(STREAM.name, 1), 1000 + self._others)

    async def copy_mongodb(self) -> None:
        names = (OUTBOX, PARTITIONS, "files")
        copy = {name: await self._world.database[name].find().to_list() for name in names}
        self._backup = copy, (await self._messages(), await self._lease())

    async def restore_mongodb(self) -> None:
        assert self._backup
        await self.stop()
        for name, documents in self._backup[0].items():
            await self._world.database[name].delete_many({})
            if documents:
                await self._world.database[name].insert_many(documents)
        self._backup = None

    async def make_leases_anew(self) -> None:
        await self.stop()
        await self._reset_leases()
        self._backup = None

    async def _reset_leases(self) -> None:
        new = {"stream": STREAM.name, "number": 0, "owner": None, "token": 0, "expires_at": None, "batch": 0, "tag": ""}
        await self._world.database[PARTITIONS].replace_one({"_id": str(PARTITION)}, new, upsert=True)

    async def seen(self) -> model.World:
        """What there is, in the model's words; tags and markers are the real ones."""
        relays = tuple(
            Relay(actor.token, Request(actor.doing, entries=self._numbered(actor.named()), tail=_tail(actor)))
            for actor in self.actors.values()
        )
        flying = tuple(Relay(token, relay.request) for relay, _, token in self.flying)
        saved = self._saved[1] if self._saved else None
        backup = self._backup[1] if self._backup else None
        messages, lease, redis = await asyncio.gather(self._messages(), self._lease(), self._redis())
        return model.World(messages, lease, redis, saved, relays, flying, Left(0, 0, 0, 0, 0), backup)

    def not_where_recorded(self, seen: model.World) -> list[str]:
        """Of what was `seen`: published messages that stand in the stream, but not among the entries on record.

        The model has no ids of entries. They count while both sides say that they stand at the same batch.
        """
        checkpoint = seen.redis.checkpoint
        if checkpoint is None or (checkpoint.position, checkpoint.marker) != (seen.lease.position, seen.redis.marker):
            return []
        there: defaultdict[tuple[str, str], list[EntryId]] = defaultdict(list)
        for entry, fields in self._stream:
            there[fields["message_id"], fields["attempt"]].append(EntryId.parse(entry))
        wrong = []
        for id_, document in self._documents.items():
            found = there.get((str(id_), str(document["attempts"])))
            if document["state"] == "published" and found:
                first, last = (EntryId.parse(document["entries"][end]) for end in ("first", "last"))
                if not any(first <= entry <= last for entry in found):
                    wrong.append(f"{id_} is recorded from {first} to {last} and stands at {found}")
        return wrong

    def _numbered(self, entries: Any) -> tuple[model.Entry, ...]:
        numbers = {id_: i for i, id_ in self._ids.items()}
        return tuple((numbers[ObjectId(id_)], int(attempt)) for id_, attempt in entries)

    async def _messages(self) -> tuple[Message, ...]:
        database = self._world.database
        documents = {m["_id"]: m for m in await database[OUTBOX].find().to_list()}
        settled = database.files.find({"parsing": {"$ne": "queued"}}) if self._bounds.settles else None
        done = {f["_id"] for f in await settled.to_list()} if settled else set()
        self._documents = documents
        return tuple(_message(documents.get(self._ids.get(i)), f"f{i}" in done) for i in range(len(self._bounds.keys)))

    async def _lease(self) -> Lease:
        lease = await self._world.lease()
        intent = self._numbered((id_, 0) for id_ in fences.unpack(lease.get("intent")))
        position: Any = (lease["batch"] or UNKNOWN[0], lease["tag"])
        return Lease(lease["token"], position, tuple({i for i, _ in intent}))

    async def _redis(self) -> Redis:
        found = await asyncio.gather(
            self._world.stream(),
            _MARKER.run(self._world.redis, [STREAM.key, RECORD], []),
            self._world.redis.hgetall(CHECKPOINT),
        )
        entries, (marker,), there = cast(Any, found)
        self._stream = entries
        stream = self._numbered((fields["message_id"], fields["attempt"]) for _, fields in entries)
        if not there:
            return Redis(stream, marker)
        batch = int(there["batch"])
        before: Any = (batch - 1, there["previous"][-LETTERS:]) if there.get("previous") else UNKNOWN
        position: Any = (batch, there["tag"])
        sent = self._numbered(word.split(":") for word in there.get("messages", "").split())
        return Redis(stream, marker, Checkpoint(int(there["token"]), position, before, sent, there.get("marker", 0)))


def _tail(actor: Actor) -> tuple[int, ...] | None:
    """Of what was shown, only the number is compared."""
    return (0,) * actor.inbox.waiting if actor.inbox.joined else None


def _message(document: Document | None, settled: bool) -> Message:
    if document is None:
        return Message()
    state = State(document["state"])
    attempt = document["attempts"] + (state is State.PENDING)
    at: Any = (document.get("batch"), document.get("tag"))
    return Message(state, attempt, at, settled, fence=document.get("fence", 0))


class _Marker(Script):
    """The marker of the stream as the scripts themselves know it; '' when it is another stream than the record's."""

    def __init__(self) -> None:
        super().__init__("open")
        lua = self._text[: self._text.index("-- Take a partition's checkpoint")]
        self._text = lua + "return {recognize(KEYS[1], KEYS[2]) or ''}"
        self._digest = "0" * 40


_MARKER = _Marker()
