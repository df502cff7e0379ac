"""A scenario: its own Redis, bad networks, relays, a client that remembers, and the judge at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

from bson import ObjectId
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox import Outbox
from outbox.database import OUTBOX, Database, Document
from outbox.embedded import RedisServer
from outbox.message import schema
from outbox.operations import replay
from outbox.servers.connections import connect_redis
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILES, Streams
from outbox_relay.daemon import Relay
from tests.faults import evidence, relays
from tests.faults.history import Appended, History, Lost, Replayed, Settled, Survivors, published_in
from tests.faults.judge import judge
from tests.faults.proxy import Proxy
from tests.faults.relays import RelayProcess
from tests.waiting import eventually

STREAM = FILES.name
LENIENT: CodecOptions[Document] = CodecOptions(
    dict, unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
CHECKPOINTS = [FILES.checkpoint_key(number) for number in range(FILES.partitions)]


class Scenario:
    """What a test sees and does. Relays reach both servers through proxies; client and judge go straight to them."""

    def __init__(
        self,
        client: AsyncMongoClient[Document],
        database: str,
        redis: RedisServer,
        to_mongo: Proxy,
        to_redis: Proxy,
        folder: Path,
        logs: list[MutableMapping[str, Any]],
    ) -> None:
        self.client = client
        self.database: Database = Database(client, database)
        self.redis = redis
        self.to_mongo, self.to_redis = to_mongo, to_redis
        self.folder = folder
        self.history = History()
        self.logs = logs
        self._outbox = Outbox(Streams([FILES]), database=database)
        self._processes = 0

    # -- relays

    @property
    def settings(self) -> OutboxSettings:
        """Where a relay finds its servers: behind the proxies."""
        return load(
            OutboxSettings,
            mongodb_uri=f"mongodb://{self.to_mongo.address}/?directConnection=true",
            mongodb_database=self.database.name,
            redis_url=f"redis://{self.to_redis.address}/0",
        )

    @asynccontextmanager
    async def relay(self, **settings: Any) -> AsyncIterator[Relay]:
        """A relay in this process. Of several, the last one holds its share already, and the others none too many."""
        async with relays.in_this_process(self.settings, **settings) as running:
            await self.held()
            yield running

    def relay_process(self, *command: str, **settings: Any) -> AbstractContextManager[RelayProcess]:
        self._processes += 1
        log = self.folder / f"relay-{self._processes}.log"
        return relays.as_a_process(log, self.environment(), *command, **settings)

    def environment(self) -> dict[str, str]:
        """The same for programs."""
        return {
            "MONGODB_URI": self.settings.mongodb_uri.get_secret_value(),
            "MONGODB_DATABASE": self.database.name,
            "REDIS_URL": self.settings.redis_dsn,
        }

    async def held(self, seconds: float = 20) -> None:
        """Every partition has an owner."""

        async def all_held() -> bool:
            return await self.database[schema.PARTITIONS].count_documents({"owner": None}) == 0

        await eventually(all_held, seconds, what="every partition has an owner")

    async def owners(self) -> dict[str, str | None]:
        """The owner of each partition's lease. Its token rises without a change of owner, too."""
        return {lease["_id"]: lease["owner"] async for lease in self.database[schema.PARTITIONS].find()}

    def lost_leases(self) -> list[str]:
        """Partitions that a relay in this process has lost to another one before it gave them back."""
        return [partition for line in self.logs for partition in line.get("lost", ())]

    def told(self, event: str, level: str | None = None) -> bool:
        """Whether a relay in this process has logged `event`, at `level` if given."""
        return any(event in line["event"] and level in (None, line["log_level"]) for line in self.logs)

    def everything_told(self) -> str:
        return "\n".join(map(str, self.logs))

    def errors_told(self, event: str, level: str) -> list[str]:
        """The errors that came with such lines."""
        found = (line for line in self.logs if event in line["event"] and line["log_level"] == level)
        return [str(line.get("error")) for line in found]

    # -- the client

    async def append(self, *keys: str) -> list[str]:
        """One transaction and one message a key, one after the other; each also writes the file of that name."""
        return [await self._append(key) for key in keys]

    async def _append(self, key: str) -> str:
        async def body(session: Any) -> ObjectId:
            await self.database.files.update_one(
                {"_id": _file_id(key)}, {"$set": {"parsing": "queued"}}, upsert=True, session=session
            )
            fields = {"file_id": key, "filename": f"{key}.pdf"}
            appended: ObjectId = await self._outbox.append(session, STREAM, fields, key=key)
            return appended

        async with self.client.start_session() as session:
            message = str(await session.with_transaction(body))
        self.history.add(Appended(message, key))
        return message

    async def append_many(self, count: int, *, keys: int = 10) -> list[str]:
        """`count` messages in turn over `keys` keys."""
        return await self.append(*(f"key-{n % keys}" for n in range(count)))

    @asynccontextmanager
    async def appending(self, *, keys: int = 8, pause: float = 0.01) -> AsyncIterator[None]:
        """A client at work meanwhile: each key has one writer, so that its appends return in the order of commits."""
        done = asyncio.Event()

        async def writer(key: str) -> None:
            while not done.is_set():
                await self.append(key)
                await asyncio.wait([stopping], timeout=pause)

        stopping = asyncio.create_task(done.wait())
        async with asyncio.TaskGroup() as writers:
            for number in range(keys):
                writers.create_task(writer(f"busy-{number}"))
            try:
                yield
            finally:
                done.set()

    async def settle(self, *keys: str) -> None:
        """What a worker does that knows nothing of the outbox."""
        for key in keys:
            await self.database.files.update_one({"_id": _file_id(key)}, {"$set": {"parsing": "parsed"}})
            self.history.add(Settled(key))

    async def replay(self, *messages: str) -> None:
        """What an operator does."""
        for message in messages:
            done = await replay.replay(self.database, replay.Selection(ids=(ObjectId(message),)))
            self.history.add(*[Replayed(message)] * done.replayed)

    # -- Redis

    @asynccontextmanager
    async def at_redis(self, server: RedisServer | None = None, *, patience: float = 5) -> AsyncIterator[Redis]:
        """A client that goes straight to the server."""
        settings = load(OutboxSettings, redis_url=(server or self.redis).url)
        async with connect_redis(settings, timeout_seconds=patience) as redis:
            yield cast(Redis, redis)

    async def do(self, *command: str | int, server: RedisServer | None = None) -> Any:
        """One command, straight to the server."""
        async with self.at_redis(server) as redis:
            return await redis.execute_command(*command)  # type: ignore[no-untyped-call]

    async def stream(self) -> list[tuple[str, dict[str, str]]]:
        async with self.at_redis() as redis:
            return cast(list[tuple[str, dict[str, str]]], await redis.xrange(STREAM))

    async def survivors(self) -> Survivors:
        return published_in(await self.stream())

    async def groups(self) -> list[dict[str, Any]]:
        async with self.at_redis() as redis:
            return await redis.xinfo_groups(STREAM)

    async def length(self) -> int:
        async with self.at_redis() as redis:
            return int(await redis.xlen(STREAM))

    async def longer_than(self, length: int) -> bool:
        return await self.length() > length

    async def shorter_than(self, length: int) -> bool:
        return await self.length() < length

    async def written(self) -> None:
        """No rewrite of its append-only file is under way, and all of it has been handed to the kernel."""

        async def at_rest() -> bool:
            async with self.at_redis() as redis:
                info = await redis.info("persistence")
            return not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]

        await eventually(at_rest)

    async def lose(self, *command: str) -> None:
        """A command that loses the stream, unnoticed by anybody: in one step with a look at what was there."""
        self.history.add(Lost((), published_in(await self.look_and(*command))))

    async def look_and(self, *command: str) -> list[tuple[str, dict[str, str]]]:
        """What is in the stream, and right after that, with nothing in between, a command."""
        async with self.at_redis() as redis:
            together = redis.pipeline(transaction=True)
            together.xrange(STREAM)
            together.execute_command(*command)
            before, _ = await together.execute()
        return cast(list[tuple[str, dict[str, str]]], before)

    async def lose_at_work(self, *command: str) -> None:
        """The same while messages are being published: what was there then is not looked at."""
        await self.do(*command)
        self.history.add(Lost())

    @asynccontextmanager
    async def loss(self) -> AsyncIterator[None]:
        """Redis loses data inside: no relay reaches it until it has been seen what survived."""
        self.to_redis.cut()
        before = published_in(await self.stream())
        yield
        self.history.add(Lost(published_in(await self.stream()), before))
        self.to_redis.heal()

    @contextmanager
    def another_redis(self, **options: str) -> Iterator[RedisServer]:
        named = {name.replace("_", "-"): value for name, value in options.items()}
        with RedisServer(self.folder / "another-redis", binary=self.redis.binary, options=named) as server:
            yield server

    async def fail_over(self, server: RedisServer) -> None:
        """Relays, client and judge look at another server from now on."""
        self.redis = server
        self.to_redis.lead_to((server.host, server.port))

    # -- the judge

    async def verdict(self) -> list[str]:
        """Every violation by now."""
        return judge(self.history, await self.dump(), {STREAM: await self.stream()})

    async def dump(self) -> list[Document]:
        """Of every document what the judge asks for, also of one that a strict reader would refuse."""
        needless = dict.fromkeys(("stream", "key", "fields", "junk"), 0)  # the other way round, a name counts once
        return await self.database[OUTBOX].with_options(codec_options=LENIENT).find({}, needless).to_list()

    async def comes_to_rest(self, seconds: float = 15) -> None:
        """Wait until the judge finds nothing more to object to: in particular, everything is there."""

        async def nothing_found() -> bool:
            if await self.database[OUTBOX].count_documents({"state": "pending"}, limit=1):
                raise AssertionError("messages are still pending")
            found = await self.verdict()
            assert not found, found[:10]
            return True

        async with evidence.shown(self.database, self.logs, self.folder):
            await eventually(nothing_found, seconds, every=0.05)

    async def stays_at_rest(self) -> None:
        """A relay that knows nothing of what was opens every partition, and publishes one message in each: after that
        nothing may be there twice.
        """
        async with self.relay():
            await self.append(*_one_key_for_each_partition())
            await self.comes_to_rest()
        assert not await self.verdict()


def _one_key_for_each_partition() -> list[str]:
    keys = {FILES.partition_of(key): key for key in (f"last-{n}" for n in range(100))}
    return [keys[number] for number in range(FILES.partitions)]


def _file_id(key: str) -> Any:
    return ObjectId(key) if ObjectId.is_valid(key) else key
