"""What an exploration acts upon: servers, networks, two relays, and a client that is always at work."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from outbox.database import OUTBOX, Document
from outbox.embedded import RedisServer
from outbox.embedded.process import Process
from outbox.operations import pausing
from outbox.servers import transaction
from outbox.settings import OutboxSettings, load
from tests.documents import ROOT
from tests.faults.explorer import groups
from tests.faults.explorer.behind import Behind
from tests.faults.explorer.defects import check_processes
from tests.faults.explorer.neighbour import Neighbour, has_a_neighbour
from tests.faults.explorer.servers import Members, Topology, accepts_writes
from tests.faults.explorer.work import Work
from tests.faults.history import Appended, History, Lost, RolledBack, published_in
from tests.faults.proxy import Proxy
from tests.faults.relays import RelayProcess
from tests.faults.scenario import LENIENT, STREAM, Scenario
from tests.faults.sentinels import Watched
from tests.waiting import PATIENCE, eventually, pass_by

RELAYS = 2
WRITERS = 4
REST_SECONDS = 90
"""Longer than MongoDB keeps the locks of a worker that was killed in its transaction: a minute."""
MOST = 4
APPEND_SECONDS = 20

_BY_STATE: list[Document] = [{"$group": {"_id": "$state", "count": {"$sum": 1}}}, {"$sort": {"_id": 1}}]

Entries = list[tuple[str, dict[str, str]]]


class World(Scenario):
    """A scenario under chance. Each key has one writer, so that its appends stand in the history as they commit."""

    def __init__(
        self,
        members: Members,
        client: AsyncMongoClient[Document],
        database: str,
        redis: RedisServer,
        to_mongo: Proxy,
        to_redis: Proxy,
        folder: Path,
        logs: list[MutableMapping[str, Any]],
        work: Work,
        topology: Topology | None = None,
    ) -> None:
        """`redis`: of a topology, the server that has the streams."""
        super().__init__(client, database, redis, to_mongo, to_redis, folder, logs)
        self.members = members
        self.topology = topology
        self.work = work
        self.neighbour: Neighbour | None = None
        self.behind = Behind()
        self.relays: list[RelayProcess] = []
        self.asleep: set[RelayProcess] = set()
        self.down: set[RelayProcess] = set()
        self.keys = [f"key-{n}" for n in range(WRITERS)]
        self.retired: list[str] = []
        self.in_doubt: set[str] = set()
        self.names = WRITERS
        self.poisoned: list[ObjectId] = []
        self.older: Path | None = None
        self.trimmed: Entries = []
        self.recovered = True
        """Nothing has been lost since everything was at rest. Otherwise nobody settles or replays: whether what is lost
        is wanted would depend on when that is looked at."""
        self.done: Counter[str] = Counter()
        self._at_work = asyncio.Event()
        self._in_hand = [asyncio.Lock() for _ in range(WRITERS)]

    @property
    def settings(self) -> OutboxSettings:
        behind = f"mongodb://{self.to_mongo.address}/?directConnection=true"
        return load(
            OutboxSettings,
            mongodb_uri=behind if self.members.behind_a_proxy else self.members.uri,
            mongodb_database=self.database.name,
            redis_url=self.topology.url if self.topology else f"redis://{self.to_redis.address}/0",
        )

    @property
    def straight_to_redis(self) -> str:
        return self.topology.url if self.topology else self.redis.url

    @asynccontextmanager
    async def at_work(self, seed: int, relays: Iterable[Mapping[str, Any]]) -> AsyncIterator[None]:
        """Relays run, each with settings of its own, and the client appends all the time."""
        async with AsyncExitStack() as stack:
            for settings in relays:
                process = self.relay_process("tests.faults.impatient", **settings)
                self.relays.append(stack.enter_context(process))
            writers = [asyncio.create_task(self._write(n, random.Random(f"{seed} writer {n}"))) for n in range(WRITERS)]
            self._at_work.set()
            await stack.enter_async_context(self.work.at_work(self))
            if self.work.streams and has_a_neighbour(seed):
                place = (self.members.uri, self.database.name, self.straight_to_redis)
                self.neighbour = Neighbour(seed, self.client, *place)
                await stack.enter_async_context(self.neighbour.at_work())
            try:
                yield
            finally:
                for writer in writers:
                    writer.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.gather(*writers)

    async def _write(self, number: int, dice: random.Random) -> None:
        while True:
            await self._at_work.wait()
            async with self._in_hand[number]:
                await self.append(self.keys[number])
            await pass_by(dice.expovariate(10))

    def process(self, name: str, command: Sequence[str], *, straight: bool = False) -> Process:
        """A program of ours, behind the same networks as relays; `straight`: on good ones."""
        servers = {"MONGODB_URI": self.members.uri, "REDIS_URL": self.straight_to_redis} if straight else {}
        environment = {**os.environ, **self.environment(), **servers, "PYTHONPATH": str(ROOT)}
        environment["OUTBOX_LOG_FORMAT"] = "json"
        return Process(name, [sys.executable, "-m", *command], self.folder / f"{name}.log", env=environment)

    def name(self, kind: str) -> str:
        """A key that nobody has used yet."""
        self.names += 1
        return f"{kind}-{self.names}"

    async def retire(self, number: int) -> str:
        """Let a writer go on under another key; returns the key that it leaves."""
        async with self._in_hand[number]:
            key, self.keys[number] = self.keys[number], self.name("key")
        return key

    # -- a client whose transactions fail, and whose commits may be in doubt

    async def _append(self, key: str) -> str:
        return await self.append_for(key, None)

    async def append_for(self, key: str, available_in: float | None) -> str:
        """Append, and put down what is known of the outcome; returns the message's id, or "" if there is none."""
        return await self.commit(lambda session: self.write_message(session, key, available_in), key, self.history)

    async def commit(
        self, write: Callable[[Any], Awaitable[ObjectId]], key: str, history: History, contents: str = ""
    ) -> str:
        """The same for any message that `write` appends."""
        begun: list[str] = []

        async def body(session: Any) -> None:
            begun.append(str(await write(session)))

        failure: PyMongoError | None = None
        try:
            with pymongo.timeout(APPEND_SECONDS):
                async with self.client.start_session() as session:
                    await session.with_transaction(body)
        except PyMongoError as error:
            failure = error
        # What the driver began again had not been committed.
        unknown = failure and transaction.outcome_unknown(failure)
        message = begun.pop() if begun and (not failure or unknown) else ""
        history.add(*map(RolledBack, begun))
        if unknown:
            self.in_doubt.add(key)
        if message:
            history.add(Appended(message, key, acknowledged=not failure, contents=contents))
        self.done["appends"] += not failure
        self.done["appends in doubt or failed"] += bool(failure)
        return message

    async def write_message(self, session: Any, key: str, available_in: float | None = None) -> ObjectId:
        await self.database.files.update_one(
            {"_id": key}, {"$set": {"parsing": "queued"}}, upsert=True, session=session
        )  # fmt: skip
        due = datetime.now(UTC) + timedelta(seconds=available_in) if available_in is not None else None
        fields = {"file_id": key, "filename": f"{key}.pdf"}
        message: ObjectId = await self._outbox.append(session, STREAM, fields, key=key, available_at=due)
        return message

    async def accepted(self) -> None:
        """MongoDB takes writes."""
        await eventually(lambda: accepts_writes(self.client), 60, what="MongoDB takes writes")

    # -- what was trimmed has been in the stream all the same

    async def stream(self) -> Entries:
        """With what was trimmed. A Redis that forgets may forget that it has trimmed, too."""
        there = await super().stream()
        ids = {id_ for id_, _ in there}
        return [entry for entry in self.trimmed if entry[0] not in ids] + there

    async def lose(self, *command: str) -> None:
        """As in a scenario; what was trimmed cannot be lost."""
        before = await self.look_and(*command)
        ids = {id_ for id_, _ in before}
        kept = [entry for entry in self.trimmed if entry[0] not in ids]
        self.history.add(Lost(published_in(kept), published_in(kept + before)))

    @asynccontextmanager
    async def losing(self) -> AsyncIterator[None]:
        """Redis is about to lose data. No append is in hand: the history must tell what came before and what after."""
        async with AsyncExitStack() as stack:
            for lock in self._in_hand:
                await stack.enter_async_context(lock)
            self.recovered = False
            self.work.loses()
            yield

    # -- the judge

    async def dump(self) -> list[Document]:
        """Of the stream that nobody reads."""
        needless = dict.fromkeys(("stream", "key", "fields", "junk"), 0)
        return (
            await self.database[OUTBOX].with_options(codec_options=LENIENT).find({"stream": STREAM}, needless).to_list()
        )

    async def verdict(self) -> list[str]:
        neighbours = await self.neighbour.verdict() if self.neighbour else []
        return [*await super().verdict(), *await self.work.verdict(self), *neighbours]

    # -- rest

    async def comes_to_rest(self, seconds: float | None = None) -> None:
        """Mend everything, let the client pause, and wait for the judge to find nothing."""
        self._at_work.clear()
        for lock in self._in_hand:
            async with lock:
                pass
        await self.work.pause()
        check_processes(self.relays, self.work, self.down)
        await self.mend()
        await self.behind.put_right(self.database[OUTBOX])
        for stream in self.work.streams:
            async with self.at_redis() as client:
                await self.work.adders.leave(client, stream.key, stream.group)
        await self._nothing_found(seconds or REST_SECONDS)
        self.recovered = True

    async def _nothing_found(self, seconds: float) -> None:
        """As in a scenario; but on a busy machine it may take longer, as long as something still changes."""
        began = changed = time.monotonic()
        last: object = None
        while found := await self.verdict():
            now = time.monotonic()
            states = [one async for one in await self.database[OUTBOX].aggregate(_BY_STATE)]
            if (seen := (len(found), states)) != last:
                last, changed = seen, now
            if now - changed > seconds * PATIENCE or now - began > MOST * seconds * PATIENCE:
                raise AssertionError("\n".join(found[:10]))
            await pass_by(0.1)

    def goes_on(self) -> None:
        self._at_work.set()
        self.work.goes_on()

    async def mend(self) -> None:
        self.redis.resume()
        if isinstance(self.topology, Watched):
            # On a busy machine, the Sentinels take a slow primary for a dead one, and choose another by themselves.
            self.redis = await asyncio.to_thread(self.topology.primary)
        await self.do("CONFIG", "SET", "maxmemory", 0)
        for network in (self.to_redis, self.to_mongo):
            network.heal()
            network.release()
        self.members.primary().resume()
        await self.accepted()
        for stream in self.work.streams:
            await pausing.resume(self.database, stream.name, who="an operator")
            async with self.at_redis() as client:
                await groups.end(client, stream.key, groups.FORGETFUL)
        for relay in self.relays:
            relay.resume()
            self.asleep.discard(relay)
            relay.start()  # unless it runs
            self.down.discard(relay)
        await self.work.mend(self)
