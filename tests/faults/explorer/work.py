"""Three streams with workers, beside the one that nobody reads: two for workers of ours, one for plain ones."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from redis.exceptions import ResponseError

from outbox import Outbox
from outbox.database import LENIENT, OUTBOX
from outbox.embedded.process import Process
from outbox.streams.declaration import Retry, Stream, Streams, Subject
from tests.faults import judge_work
from tests.faults.explorer import payloads
from tests.faults.explorer.groups import Adders
from tests.faults.explorer.handlers import HOPELESS, MOODS
from tests.faults.explorer.listener import Listener
from tests.faults.explorer.plain import MANNERS, PlainWorker
from tests.faults.explorer.unread import Unread
from tests.faults.history import History, Hopeless, Lost
from tests.waiting import eventually, pass_by

if TYPE_CHECKING:
    from tests.faults.explorer.world import World

WORKERS = 2
PLAIN_WORKERS = 2
PER_SECOND = 8
LEAVE_SECONDS = 20
SEEN_SECONDS = 90
"""A relay that takes more than a second for a look rests for twenty times as long."""
SUBJECT = Subject(collection="work", field="state", wanted="new")

# A message is to be handled, whatever happens: its attempts are not what ends here.
_PATIENT = Retry(attempts=1000, base_seconds=0.1, cap_seconds=0.5)
OURS = Stream("work", "workers", retry=_PATIENT, rescue_seconds=6, handler_seconds=8)
# Nothing in it is ever completed, so its messages need not be tried for ever.
RISKY = Stream(
    "risky_work", OURS.group, retry=Retry(attempts=3, base_seconds=0.1, cap_seconds=0.5), rescue_seconds=6,
    handler_seconds=3,
)  # fmt: skip
PLAIN = Stream("plain_work", "plain_workers", retry=_PATIENT, rescue_seconds=4)


class Work:
    """What a seed declares, appends and expects of its consumers."""

    def __init__(self, seed: int, *, at_all: bool = True) -> None:
        """:param at_all: otherwise there are no workers, and nothing to do for them."""
        dice = random.Random(f"{seed} streams")
        partitions = [1, 1, 2, 2, 4, 4, 4, 16, 64]
        limits = [0, 5, 200_000, 200_000]
        subject = SUBJECT if dice.random() < 0.5 else None
        self.ours = replace(
            OURS, partitions=dice.choice(partitions), subject=subject, max_undelivered=dice.choice(limits)
        )
        self.plain = replace(PLAIN, partitions=dice.choice(partitions), max_undelivered=dice.choice(limits))
        self.kind_of_id = dice.choice(list(payloads.IDS))
        self.risky = replace(RISKY, partitions=dice.choice([1, 1, 4]))
        self.streams = [self.ours, self.plain, self.risky] if at_all else []
        self.usual = self.streams[:2]
        """Those that the client appends to all the time."""
        self.adders = Adders()
        self.histories = {stream.name: History() for stream in self.streams}
        self.workers: list[Process] = []
        self.down: set[Process] = set()
        self.asleep: set[Process] = set()
        self.plain_workers: list[PlainWorker] = []
        self.unread = Unread(self.plain.key)
        self.listener = Listener(self.plain.key)
        self.fallen: list[str] = []
        """Workers that have ended by themselves, and why."""
        self._handled: defaultdict[str, list[str]] = defaultdict(list)
        self._number = 0
        self._dice = random.Random(f"{seed} work")
        self._going = asyncio.Event()
        self._in_hand = asyncio.Lock()

    def __str__(self) -> str:
        if not self.streams:
            return "no workers"
        ids = f"about documents with {self.kind_of_id} as _id" if self.ours.subject else "without a subject"
        return ", ".join(
            f"{stream.name} in {stream.partitions} partitions (at most {stream.max_undelivered or 'any number'} wait)"
            for stream in self.usual
        ) + f"; {self.ours.name} is {ids}"  # fmt: skip

    @asynccontextmanager
    async def at_work(self, world: World) -> AsyncIterator[None]:
        """Workers run, and a client appends what they are to do."""
        if not self.streams:
            yield
            return
        async with AsyncExitStack() as stack:
            stack.callback(self.workers.clear)  # or what mends the world afterwards would start them again
            for number in range(WORKERS):
                worker = self._worker(world, number)
                self.workers.append(worker)
                stack.callback(worker.kill)
                worker.start()
            self.plain_workers = [self._plain_worker(world, number) for number in range(PLAIN_WORKERS)]
            tasks = [asyncio.create_task(worker.run()) for worker in self.plain_workers]
            tasks += [asyncio.create_task(self._append(world)), asyncio.create_task(self._supervise())]
            self.goes_on()
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled() and (error := task.exception()):
                    raise error

    def _worker(self, world: World, number: int) -> Process:
        # One keeps its name when it starts again, the other has a new one each time.
        name = [] if number else ["--consumer", "a-worker"]
        streams = ["--stream", self.ours.name, "--stream", self.risky.name]
        options = [*streams, "--silent-seconds", "2", "--stop-seconds", "3", *name]
        return world.process(
            f"worker-{number + 1}",
            ["outbox", "worker", "--handler", "tests.faults.explorer.handlers:handle", *options],
        )

    def _plain_worker(self, world: World, number: int) -> PlainWorker:
        def handled(message: str, contents: str) -> None:
            self._handled[message].append(contents)

        dice = random.Random(f"{self._dice.random()}")
        stream = self.plain
        name = f"plain-{number + 1}"
        return PlainWorker(name, stream.key, stream.group, lambda: world.redis, handled, dice, looks_back=number == 0)

    async def _supervise(self) -> None:
        """Start again what a message has killed, as whatever runs workers does."""
        while True:
            for worker in self.workers:
                if not worker.running and worker not in self.down:
                    if worker.returncode != -9:
                        self.fallen.append(f"{worker.name} has ended by itself: {worker.output(last_lines=30)}")
                        self.down.add(worker)
                        continue
                    worker.start()
            await pass_by(0.2)

    # -- the client

    async def _append(self, world: World) -> None:
        while True:
            await self._going.wait()
            async with self._in_hand:
                await self.append(world, self._dice.choice(self.usual))
            await pass_by(self._dice.expovariate(PER_SECOND))

    async def append(self, world: World, stream: Stream, mood: str = "") -> str:
        """One message, with a document that it is about if the stream has such; returns its id, or "" for none.

        :param mood: what its handler does with it; by default chance says.
        """
        self._number += 1
        number = self._number
        if not mood:
            [mood] = self._dice.choices(list(MOODS), list(MOODS.values())) if stream is self.ours else ["fine"]
        fields = payloads.fields(self._dice, mood)
        outbox = Outbox(Streams([stream]), database=world.database.name)
        about = payloads.IDS[self.kind_of_id](number, self._dice)

        async def write(session: AsyncClientSession) -> ObjectId:
            if stream.subject is None:
                return await outbox.append(session, stream.name, fields, key=f"work-{number % 5}")
            await world.database.application.work.insert_one({"_id": about, "state": "new"}, session=session)
            return await outbox.append(session, stream.name, fields, subject=about)

        history = self.histories[stream.name]
        message = await world.commit(write, f"work {number}", history, payloads.contents(fields))
        if message and mood in HOPELESS:
            history.add(Hopeless(message))
        return message

    # -- rest

    async def pause(self) -> None:
        """The client pauses, and everybody works as they should from now on."""
        self._going.clear()
        async with self._in_hand:
            pass
        for plain in self.plain_workers:
            plain.manner = "careful"

    def loses(self) -> None:
        """Redis is about to lose something."""
        for history in self.histories.values():
            history.add(Lost())
        self.adders.forget()

    def goes_on(self) -> None:
        """The client goes on, and plain workers err again, each in its way."""
        for plain in self.plain_workers:
            plain.manner = self._dice.choice(MANNERS)
        self._going.set()

    async def mend(self, world: World) -> None:
        await self.listener.ends(world.do)
        again = "G1: what others have removed before anybody was given it is published again"
        await eventually(lambda: self.unread.seen(world), SEEN_SECONDS, 0.2, what=again)
        for plain in self.plain_workers:
            plain.away = False
        for worker in self.workers:
            worker.resume()
            worker.start()  # unless it runs
        self.asleep.clear()
        self.down.clear()

    # -- workers that are away

    async def plain_workers_leave(self) -> None:
        """They finish what they work on, and take nothing more."""
        for plain in self.plain_workers:
            plain.away = True

        def gone() -> bool:
            return not any(plain.busy for plain in self.plain_workers)

        await eventually(gone, LEAVE_SECONDS, what="plain workers finish what they work on")

    @asynccontextmanager
    async def nobody_works(self) -> AsyncIterator[None]:
        """Nor does anybody acknowledge anything, but for whatever else uses this Redis."""
        here = [plain for plain in self.plain_workers if not plain.away]
        stopped = [worker for worker in self.workers if worker.running and worker not in self.asleep | self.down]
        await self.plain_workers_leave()
        for worker in stopped:
            worker.pause()
        try:
            yield
        finally:
            for worker in stopped:
                worker.resume()
            for plain in here:
                plain.away = False

    # -- the judge

    async def verdict(self, world: World) -> list[str]:
        if not self.streams:
            return []
        done = {
            self.ours: judge_work.Work(True, settles=self.ours.subject is not None),
            self.risky: judge_work.Work(True, tries=self.risky.retry.attempts),
            self.plain: judge_work.Work(False, self._handled),
        }
        by_name = {stream.name: work for stream, work in done.items()}
        async for effect in world.database.application.effects.find():
            by_name[effect["stream"]].handled.setdefault(str(effect["message"]), []).append(effect["contents"])
        async for call in world.database.application.calls.find({"stream": self.risky.name}).sort("_id"):
            done[self.risky].beside.setdefault(str(call["message"]), []).append(call["beside"])
        if too_late := judge_work.beyond_repair(self.histories[self.risky.name], done[self.risky]):
            raise AssertionError("\n".join(too_late))
        outbox = world.database[OUTBOX].with_options(codec_options=LENIENT)
        found: list[str] = [*self.fallen]
        for stream in self.streams:
            documents = await outbox.find({"stream": stream.name}, _LOOKED_AT).to_list()
            found += judge_work.judge(self.histories[stream.name], documents, done[stream])
        return found + await self._held(world)

    async def _held(self, world: World) -> list[str]:
        """What some consumer holds still, when nobody works on anything: nothing behind it could ever be trimmed."""
        found: list[str] = []
        async with world.at_redis() as client:
            redis: Any = client
            for stream in self.streams:
                with suppress(ResponseError):  # there is no such stream, or no group
                    if count := (await redis.xpending(stream.key, stream.group))["pending"]:
                        found.append(f"surface: {count} entries of {stream.name} are held, and nobody works on them")
        return found

    def done(self) -> Counter[str]:
        """How many messages of each stream there were."""
        return Counter({stream: len(list(history.appended())) for stream, history in self.histories.items()})


_LOOKED_AT: dict[str, Any] = {"state": 1, "last_error": 1, "fields.foreign": 1}
