"""What a dead worker has written in open transactions is locked no longer than until its messages are taken over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from outbox.database import Place
from outbox.delivery.entries import OURS
from outbox.servers.connections import connect_mongo
from outbox.worker import Message, locks, presence
from outbox.worker.locks import Locks, connection_name
from tests.waiting import eventually
from tests.worker.processes import WorkerProcess, running
from tests.worker.test_suspects import SILENT, die_with
from tests.worker.workshop import Workshop

SOON = 30.0
"""Seconds. MongoDB ends a transaction by itself after 60."""


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker does not learn in time it goes without, which is not what is tested here."""
    monkeypatch.setattr(locks, "TIMEOUT_SECONDS", SOON)
    monkeypatch.setattr(presence, "TIMEOUT_SECONDS", SOON)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("handler", "name"),
    [
        ("hangs_once", None),
        ("hangs_once", "same"),
        ("hangs_once_plain", None),
        pytest.param("hangs_once_many", None, marks=pytest.mark.slow),
    ],
    ids=["async", "the same name again", "plain", "many"],
)
async def test_a_worker_killed_in_its_transactions_stops_no_other(
    handler: str, name: str | None, workshop: Workshop, tmp_path: Path
) -> None:
    environment = {
        "MONGODB_URI": workshop.settings.mongodb_uri.get_secret_value(),
        "MONGODB_DATABASE": workshop.settings.mongodb_database,
        "REDIS_URL": workshop.settings.redis_dsn,
    }
    # Who is started again under its name does not wait for its own silence.
    options = ["--silent-seconds", "60", "--consumer", name] if name else ["--silent-seconds", "2"]
    first, second = (WorkerProcess(tmp_path / f"{n}.log", environment, handler, *options) for n in (1, 2))
    calls, files = workshop.world.database["calls"], workshop.world.database["files"]
    hung = await workshop.publish(*(str(ObjectId()) for _ in range(3)))
    with running(first):
        await eventually(lambda: _count(calls, 3), SOON, what="the handlers are called")
        first.kill()
        with running(second):
            await eventually(lambda: workshop.in_state("completed", *hung), SOON)
            await workshop.publish(str(ObjectId()))
            await eventually(lambda: _count(calls, 4), SOON, what="the handler is called for what is new")
    assert second.told("transactions of a dead worker ended")
    assert [file["effects"] async for file in files.find({"parsing": "parsed"})] == [1, 1, 1]


async def _count(collection: Any, count: int) -> bool:
    return bool(await collection.count_documents({}) == count)


@asynccontextmanager
async def an_open_transaction(
    workshop: Workshop, consumer: str, key: Any = None, *, database: str = "", message: ObjectId | None = None
) -> AsyncIterator[AsyncClientSession]:
    """A consumer of this name has one open, in which it has written to the file of `key`, or to a message."""
    name = connection_name(consumer, Place(database or workshop.settings.mongodb_database))
    async with connect_mongo(workshop.settings, name=name) as client:
        async with client.start_session() as session, await session.start_transaction():
            there = client[workshop.settings.mongodb_database]
            if message:
                await there["outbox"].update_one({"_id": message}, {"$set": {"asked_at": None}}, session=session)
            else:
                this = {"_id": key or ObjectId()}
                await there["files"].update_one(this, {"$inc": {"n": 1}}, upsert=True, session=session)
            yield session


async def write(workshop: Workshop, key: str, session: AsyncClientSession) -> None:
    files = session.client[workshop.settings.mongodb_database]["files"]
    await files.update_one({"_id": ObjectId(key)}, {"$set": {"parsing": "parsed"}}, session=session)


async def is_open(session: AsyncClientSession) -> bool:
    try:
        await session.commit_transaction()
    except OperationFailure as error:
        if not error.has_error_label("TransientTransactionError"):
            raise
        return False
    return True


async def _goes_on(session: AsyncClientSession) -> bool:
    """Whether one more statement can be made in its transaction."""
    try:
        await session.client["any"]["any"].find_one({}, session=session)
    except OperationFailure as error:
        if not error.has_error_label("TransientTransactionError"):
            raise
        return False
    return True


async def test_only_what_the_dead_worker_has_left_for_so_long_is_ended(workshop: Workshop) -> None:
    silent, long = 2.0, f"{OURS}{'ü' * 100}"
    async with AsyncExitStack() as stack:
        sessions = {
            name: await stack.enter_async_context(an_open_transaction(workshop, name))
            for name in (f"{OURS}dead", f"{OURS}dead-2", f"{OURS}own", "outbox", long)
        }
        other = an_open_transaction(workshop, f"{OURS}dead", database="another_outbox")
        sessions["another outbox's"] = await stack.enter_async_context(other)
        own = Locks(workshop.world.database, f"{OURS}own", silent_seconds=silent)
        await asyncio.sleep(silent + 0.5)

        async def a_new_one_is_left() -> bool:
            """Unless it got as old itself before the others were ended."""
            async with an_open_transaction(workshop, f"{OURS}dead") as new:
                for name in (f"{OURS}dead", f"{OURS}own", long, f"{OURS}nobody"):
                    await own.end_of(name)
                return await is_open(new)

        await eventually(a_new_one_is_left, SOON)
        left = [name for name, session in sessions.items() if await is_open(session)]
    assert left == [f"{OURS}dead-2", f"{OURS}own", "outbox", "another outbox's"]


async def test_what_the_process_before_has_left_is_ended_at_once(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with an_open_transaction(workshop, f"{OURS}own") as session:
        await asyncio.sleep(1)  # or one could not say that it is older, after a look that takes a while
        monkeypatch.setattr(locks, "BEGAN", time.monotonic())
        own = Locks(workshop.world.database, f"{OURS}own", silent_seconds=SILENT)
        # As a lifespan may have begun one before the first message.
        async with an_open_transaction(workshop, f"{OURS}own") as of_this_process:

            async def is_ended() -> bool:  # by the first look, unless that took as long as what was slept for
                await own.end_of_predecessor()
                return not await _goes_on(session)

            await eventually(is_ended)
            assert not await is_open(session)
            assert await is_open(of_this_process)


async def test_a_living_worker_of_the_same_name_keeps_its_transactions(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "EVERY_SECONDS", 60.0)  # or it would soon say again where it really is
    key = str(ObjectId())
    await workshop.publish(key)
    done = asyncio.Event()

    async def handle(message: Message, session: AsyncClientSession) -> None:
        await write(workshop, message.key, session)
        calls.append(message.key)
        await done.wait()

    async def seems_to_be_elsewhere() -> bool:
        change = {"$set": {"host": "elsewhere", "pid": 1}}
        workers = workshop.world.database["outbox_workers"]
        recorded = {"_id": f"{OURS}twice", "seen_at": {"$exists": True}}
        return bool((await workers.update_one(recorded, change)).matched_count)

    calls: list[str] = []
    async with workshop.working(handle, name="twice"):
        await eventually(lambda: calls == [key])
        await eventually(seems_to_be_elsewhere)
        await asyncio.sleep(1)
        monkeypatch.setattr(locks, "BEGAN", time.monotonic())  # and what it has begun is older than the second one
        async with workshop.working(handle, name="twice") as second:
            await eventually(lambda: second.processing and second.processing.presence.shared)
            await asyncio.sleep(1)
            done.set()
            await eventually(lambda: workshop.all_acknowledged())
    assert (calls, await workshop.parsing(key)) == ([key], "parsed")


@pytest.mark.parametrize("concurrency", [10, 1])
async def test_a_suspect_that_waits_for_anothers_transaction_stops_nobody(workshop: Workshop, concurrency: int) -> None:
    suspect_key, quick_key, slow_key = (str(ObjectId()) for _ in range(3))
    gate = asyncio.Event()
    at_work: set[str] = set()
    beside: set[str] = set()
    """With whom the suspect was at work."""

    async def handle(message: Message, session: AsyncClientSession) -> None:
        at_work.add(message.key)
        try:
            if suspect_key in at_work:
                beside.update(at_work - {suspect_key})
            await write(workshop, message.key, session)
            if message.key == slow_key:
                await gate.wait()
        finally:
            at_work.discard(message.key)

    suspect = await workshop.publish(suspect_key)
    await die_with(workshop, "dead")
    async with an_open_transaction(workshop, "an application", ObjectId(suspect_key)) as session:
        async with workshop.working(handle, silent_seconds=SILENT, concurrency=concurrency):
            await eventually(lambda: _taken_over(workshop, suspect[0]))
            slow = await workshop.publish(slow_key)
            await eventually(lambda: at_work == {slow_key}, SOON)
            await asyncio.sleep(1)  # twice as long as it rests
            gate.set()
            others = [*slow, *await workshop.publish(quick_key)]
            await eventually(lambda: workshop.in_state("completed", *others), SOON)
            assert not await workshop.in_state("completed", *suspect)
            await session.abort_transaction()
            await eventually(lambda: workshop.in_state("completed", *suspect), SOON)
    assert not beside
    assert (await workshop.message(suspect[0]))["taken_over"] == 1


async def test_a_worker_that_died_in_its_completion_has_locked_the_message_itself(workshop: Workshop) -> None:
    """What is written to that without a transaction meets no conflict, and waits."""
    key = str(ObjectId())

    async def handle(message: Message, session: AsyncClientSession) -> None:
        await write(workshop, key, session)

    [suspect] = await workshop.publish(key)
    await die_with(workshop, "dead")
    async with an_open_transaction(workshop, f"{OURS}dead", message=suspect) as session:
        await asyncio.sleep(SILENT)
        async with workshop.working(handle, silent_seconds=SILENT):
            await eventually(lambda: workshop.in_state("completed", suspect), SOON)
        assert not await is_open(session)


async def test_what_had_been_idle_for_too_short_at_first_is_ended_by_the_next_conflict(workshop: Workshop) -> None:
    """A worker may have died right after a statement, and have been silent at Redis for long before that."""
    key = str(ObjectId())
    begun = an_open_transaction(workshop, f"{OURS}dead", ObjectId(key))
    sessions: list[AsyncClientSession] = []
    async with AsyncExitStack() as stack:

        async def handle(message: Message, session: AsyncClientSession) -> None:
            if not sessions:  # after the message was taken over, when nothing was there to be ended
                sessions.append(await stack.enter_async_context(begun))
            await write(workshop, key, session)

        [suspect] = await workshop.publish(key)
        await die_with(workshop, "dead")
        async with workshop.working(handle, silent_seconds=SILENT):
            await eventually(lambda: workshop.in_state("completed", suspect), SOON)
        assert not await is_open(*sessions)


@pytest.mark.slow
async def test_to_wait_for_its_turn_is_no_conflict(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message fails when it has met conflicts for long. A suspect waits in between, for handlers of any length."""
    long = 10.0
    monkeypatch.setattr("outbox.worker.work.CONFLICT_SECONDS", long)
    suspect_key, slow_key = (str(ObjectId()) for _ in range(2))
    calls: list[str] = []
    gate = asyncio.Event()

    async def handle(message: Message, session: AsyncClientSession) -> None:
        calls.append(message.key)
        await write(workshop, message.key, session)
        if message.key == slow_key:
            await gate.wait()

    [suspect] = await workshop.publish(suspect_key)
    await die_with(workshop, "dead")
    async with an_open_transaction(workshop, "an application", ObjectId(suspect_key)) as session:
        async with workshop.working(handle, silent_seconds=SILENT):
            await eventually(lambda: calls[-1:] == [suspect_key])
            await workshop.publish(slow_key)
            await eventually(lambda: calls[-1] == slow_key, SOON)
            await asyncio.sleep(long + 1)
            gate.set()
            await eventually(lambda: calls[-2:] == [suspect_key, suspect_key], what="it has met another conflict")
            await session.abort_transaction()
            await eventually(lambda: workshop.in_state("completed", suspect), SOON)
    assert (await workshop.message(suspect))["attempts"] == 1


async def _taken_over(workshop: Workshop, id_: ObjectId) -> bool:
    return bool((await workshop.message(id_)).get("taken_over"))
