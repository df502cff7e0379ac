"""`worker`: one worker process on messages that wait in its stream, beside bare loops of the same statements."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from redis.exceptions import ResponseError

from outbox.bench import loops
from outbox.bench.backlog import fill, pages_of
from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.loops import PARSED, Meter
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell
from outbox.database import FILES, Document
from outbox.message.document import State
from outbox.worker import Consumer, Message

TRANSACTION = "one transaction each"
MANY = "batch handler"
AT_LEAST_ONCE = "at least once"
BARE = "bare transactions"
PLAIN = "plain loop without"
READ = "XREADGROUP alone"
RATE = 100
WARM_UP = 20
WARM = 0.1
"""The part of each round that is not counted: connections, caches and the start of a worker."""

Files = AsyncCollection[Document]
Round = Callable[[Ground, Meter], Awaitable[None]]


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    rounds: dict[str, Round] = {
        TRANSACTION: _in_transactions,
        MANY: _in_batches,
        BARE: loops.transactions,
        AT_LEAST_ONCE: _at_least_once,
        PLAIN: loops.plain,
    }
    rates = dict.fromkeys(rounds, 0.0)
    await ground.clear()
    await _make_group(ground)
    for number in range(extent.worker_rounds):
        for name, work in rounds.items():  # by turns, so that whatever else happens on the machine slows all alike
            tell(f"{name}, {number + 1} of {extent.worker_rounds}")
            rates[name] += await _rate(ground, extent.worker_messages, work) / extent.worker_rounds
    tell(f"from the entry to its handler, {RATE} messages/s")
    ours = await _milliseconds(ground, extent, _until_handled)
    tell(f"from the entry to a loop that reads it, {RATE} messages/s")
    bare = await _milliseconds(ground, extent, _until_read)
    return [
        Figure("worker", TRANSACTION, rates[TRANSACTION], "messages/s", (Limit(BARE, rates[BARE]),)),
        Figure("worker", MANY, rates[MANY], "messages/s", (Limit(BARE, rates[BARE]),)),
        Figure("worker", AT_LEAST_ONCE, rates[AT_LEAST_ONCE], "messages/s", (Limit(PLAIN, rates[PLAIN]),)),
        *(
            Figure(
                "worker", f"entry to handler at {RATE}/s {name}", ours[part - 1], "ms", (Limit(READ, bare[part - 1]),)
            )
            for name, part in (("p50", 50), ("p99", 99))
        ),
    ]


async def _rate(ground: Ground, count: int, work: Round) -> float:
    """Messages a second of `work`, the last one acknowledged."""
    await _publish(ground, await _published(ground, count))
    meter = Meter(count, int(count * WARM))
    await work(ground, meter)
    return meter.rate()


async def _published(ground: Ground, count: int) -> list[ObjectId]:
    """Messages as a relay has marked them, each about a file of its own."""
    ids = await fill(ground, count, state=State.PUBLISHED)
    await ground.database[FILES].insert_many([{"_id": id_, "parsing": "queued", "version": 1} for id_ in ids])
    return ids


async def _publish(ground: Ground, ids: list[ObjectId]) -> None:
    for page in pages_of(ids, 500):
        async with ground.redis.pipeline(transaction=False) as pipe:
            for id_ in page:
                pipe.xadd(ground.stream.key, {"file_id": str(id_), "message_id": str(id_), "attempt": "1"})
            await pipe.execute()


async def _make_group(ground: Ground) -> None:
    try:
        await ground.redis.xgroup_create(ground.stream.key, ground.stream.group, "0", mkstream=True)
    except ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


async def _in_transactions(ground: Ground, meter: Meter) -> None:
    async def handle(message: Message, session: AsyncClientSession, resources: Files) -> None:
        await resources.update_one({"_id": message.id}, PARSED, session=session)
        meter.tick()

    await _work(ground, handle, meter.all_done)


async def _in_batches(ground: Ground, meter: Meter) -> None:
    async def handle(messages: Sequence[Message], session: AsyncClientSession, resources: Files) -> None:
        ids = [message.id for message in messages]
        await resources.update_many({"_id": {"$in": ids}}, PARSED, session=session)
        meter.tick(len(messages))

    await _work(ground, handle, meter.all_done)


async def _at_least_once(ground: Ground, meter: Meter) -> None:
    files = ground.database[FILES]

    async def handle(message: Message) -> None:
        await files.update_one({"_id": message.id}, PARSED)
        meter.tick()

    await _work(ground, handle, meter.all_done)


async def _work(ground: Ground, handler: Callable[..., Any], done: asyncio.Event) -> None:
    """A worker with default settings, until its last message is acknowledged."""

    @asynccontextmanager
    async def files(client: AsyncMongoClient[Document]) -> AsyncIterator[Files]:
        yield client[ground.database.application.name][FILES]

    consumer = Consumer(ground.settings, handler, lifespan=files)
    async with asyncio.TaskGroup() as group:
        working = group.create_task(consumer.run())
        waiting = group.create_task(done.wait())
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        consumer.stop()  # which finishes what is in flight


Arrived = Callable[[ObjectId], None]
Wait = Callable[[Ground, Arrived, asyncio.Event], Coroutine[Any, Any, None]]


async def _milliseconds(ground: Ground, extent: Extent, wait: Wait) -> list[float]:
    """Percentiles of the time from XADD, each at its moment whether or not those before are done, to the arrival."""
    ids = await _published(ground, WARM_UP + max(10, round(RATE * extent.latency_seconds)))
    added: dict[ObjectId, float] = {}
    found: list[float] = []
    done = asyncio.Event()

    def arrived(id_: ObjectId) -> None:
        found.append(1000 * (time.perf_counter() - added[id_]))
        if len(found) == len(ids):
            done.set()

    async def add() -> None:
        loop = asyncio.get_running_loop()
        first = loop.time()
        for number, id_ in enumerate(ids):
            await asyncio.sleep(first + number / RATE - loop.time())
            added[id_] = time.perf_counter()
            await _publish(ground, [id_])

    async with asyncio.TaskGroup() as group:
        group.create_task(wait(ground, arrived, done))
        group.create_task(add())
    return statistics.quantiles(found[WARM_UP:], n=100)


async def _until_handled(ground: Ground, arrived: Arrived, done: asyncio.Event) -> None:
    async def handle(message: Message, session: AsyncClientSession) -> None:
        arrived(message.id)

    await _work(ground, handle, done)


async def _until_read(ground: Ground, arrived: Arrived, done: asyncio.Event) -> None:
    stream, group = ground.stream.key, ground.stream.group
    while not done.is_set():
        found = await ground.redis.xreadgroup(group, "bare", {stream: ">"}, count=loops.TOGETHER, block=200)
        for id_, fields in cast(list[Any], found)[0][1] if found else ():
            arrived(ObjectId(fields["message_id"]))
            await ground.redis.xack(stream, group, id_)
