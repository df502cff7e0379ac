"""How a message ends, whatever form its handler has and whatever else it does after it has said so."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from faststream import BaseMiddleware
from faststream.exceptions import AckMessage, NackMessage, RejectMessage, StopConsume
from faststream.redis import RedisStreamMessage
from pydantic import BaseModel

from outbox.errors import UsageError
from outbox.faststream import Session
from outbox.faststream.subscriber import OutboxSubscriber
from outbox.worker import RetryAfter
from tests.faststream.applications import File, at_work
from tests.waiting import eventually
from tests.worker.workshop import Workshop


def wrapped(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as many are written: it is not async itself."""

    @functools.wraps(handler)
    def call(*args: Any, **named: Any) -> Any:
        return handler(*args, **named)

    return call


@wrapped
async def behind_a_decorator(file: File) -> Any: ...


def left_to_others(file: File) -> Any:
    return Future[None]()


def generator(file: File) -> Iterator[None]:
    yield


async def asynchronous_generator(file: File) -> AsyncIterator[None]:
    yield


async def forgot_to_await(file: File) -> Any:
    return behind_a_decorator(file)


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (behind_a_decorator, "returned a coroutine that nobody waits for"),
        (forgot_to_await, "returned a coroutine that nobody waits for"),
        (left_to_others, "returned a Future that nobody waits for"),
        (generator, "returned a generator"),
        (asynchronous_generator, "returned a generator"),
    ],
)
async def test_a_handler_of_which_nothing_has_run_completes_nothing(
    handler: Callable[..., Any], says: str, workshop: Workshop
) -> None:
    [id_] = await workshop.publish("a")
    async with at_work(workshop.settings, handler):
        await eventually(lambda: workshop.in_state("scheduled", id_))
    assert says in (await workshop.message(id_))["last_error"]


@pytest.mark.parametrize(
    ("given", "raised", "state"),
    [
        ("reject", ValueError("no such page"), "dead"),
        ("reject", AckMessage(), "dead"),
        ("reject", NackMessage(), "dead"),
        ("reject", RetryAfter(3600), "scheduled"),
        ("reject", ExceptionGroup("a task of it", [RetryAfter(3600)]), "scheduled"),
        ("nack", AckMessage(), "scheduled"),
        ("nack", ValueError("no such page"), "scheduled"),
        ("ack", ValueError("no such page"), "scheduled"),
    ],
)
async def test_an_outcome_given_by_hand_stands_whatever_is_raised_after_it(
    given: str, raised: Exception, state: str, workshop: Workshop
) -> None:
    async def parse(file: File, session: Session, raw: RedisStreamMessage) -> None:
        await session.client[workshop.world.database.name].effects.insert_one({}, session=session)
        await getattr(raw, given)()
        raise raised

    [id_] = await workshop.publish("a")
    async with at_work(workshop.settings, parse):
        await eventually(lambda: workshop.in_state(state, id_))
    assert await workshop.world.database.effects.count_documents({}) == 0
    if isinstance(raised, ValueError):
        assert "no such page" in (await workshop.message(id_))["last_error"]


async def test_a_task_of_a_group_rejects_its_message(workshop: Workshop) -> None:
    async def read_a_page() -> None:
        raise RejectMessage

    async def parse(file: File) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(read_a_page())

    [id_] = await workshop.publish("a")
    async with at_work(workshop.settings, parse):
        await eventually(lambda: workshop.in_state("dead", id_))
    assert "rejected by its handler" in (await workshop.message(id_))["last_error"]


async def test_a_task_of_a_group_acknowledges_its_message(workshop: Workshop) -> None:
    async def read_a_page() -> None:
        raise AckMessage

    async def parse(file: File, session: Session) -> None:
        files = session.client[workshop.world.database.name].files
        await files.update_one({"_id": file.file_id}, {"$set": {"parsing": "parsed"}}, session=session)
        async with asyncio.TaskGroup() as group:
            group.create_task(read_a_page())

    [id_] = await workshop.publish("a")
    async with at_work(workshop.settings, parse):
        await eventually(lambda: workshop.in_state("completed", id_))


@pytest.mark.parametrize("grouped", [False, True], ids=["by itself", "by a task of a group"])
async def test_a_handler_stops_its_subscriber(grouped: bool, workshop: Workshop) -> None:
    async def stop() -> None:
        raise StopConsume

    async def parse(file: File) -> None:
        if not grouped:
            raise StopConsume
        async with asyncio.TaskGroup() as group:
            group.create_task(stop())

    [id_] = await workshop.publish("a")
    async with at_work(workshop.settings, parse) as broker:
        [subscriber] = broker.subscribers
        assert isinstance(subscriber, OutboxSubscriber)
        assert subscriber._consuming
        await eventually(subscriber._consuming.done)
    assert await workshop.in_state("scheduled", id_)


async def test_a_conflict_is_no_reason_to_reject(workshop: Workshop) -> None:
    """Whoever rejects what fails, as a middleware may do, does not mean that."""
    calls: list[str] = []

    class Rejecting(BaseMiddleware):
        async def consume_scope(self, call_next: Any, msg: Any) -> Any:
            try:
                return await call_next(msg)
            except Exception:
                await msg.reject()
                raise

    async def parse(file: File, session: Session) -> None:
        calls.append(file.file_id)
        database = session.client[workshop.world.database.name]
        await database.files.update_one({"_id": "a"}, {"$set": {"parsing": "parsed"}}, session=session)
        effects = database.effects
        await effects.find_one({}, session=session)  # from here on, it sees nothing that others write
        if len(calls) == 1:
            await workshop.world.database.effects.update_one({"_id": "a"}, {"$inc": {"n": 1}})
        await effects.update_one({"_id": "a"}, {"$inc": {"n": 10}}, session=session)

    await workshop.world.database.effects.insert_one({"_id": "a", "n": 0})
    [id_] = await workshop.publish("a")
    async with at_work(workshop.settings, parse, Rejecting):
        await eventually(lambda: workshop.in_state("completed", id_))
    assert calls == ["a", "a"]
    assert await workshop.world.database.effects.find_one() == {"_id": "a", "n": 11}


class Plain:
    """A handler with something of its own."""

    def __init__(self, database: str) -> None:
        self.database = database

    def __call__(self, file: File) -> None: ...


class Asynchronous(Plain):
    async def __call__(self, file: File, session: Session) -> None:  # type: ignore[override]
        database = session.client.get_database(self.database)
        await database.files.update_one({"_id": file.file_id}, {"$inc": {"pages": 1}}, session=session)


# Of an object, FastStream reads no annotations that are texts.
Plain.__call__.__annotations__ = {"file": File, "return": None}
Asynchronous.__call__.__annotations__ = {"file": File, "session": Session, "return": None}


@pytest.mark.parametrize("kind", [Plain, Asynchronous])
async def test_an_object_that_can_be_called_is_a_handler(kind: type[Plain], workshop: Workshop) -> None:
    [id_] = await workshop.publish("a")
    await workshop.world.database.files.update_one({"_id": "a"}, {"$set": {"parsing": "parsed"}})
    async with at_work(workshop.settings, kind(workshop.world.database.name)):
        await eventually(lambda: workshop.in_state("completed", id_))
    file = await workshop.world.database.files.find_one()
    assert file
    assert file.get("pages", 0) == (kind is Asynchronous)


async def test_a_plain_handler_of_a_type_that_is_known_only_where_it_is_written(workshop: Workshop) -> None:
    class Here(BaseModel):
        file_id: str

    seen: list[str] = []

    def parse(file: Here) -> None:
        seen.append(file.file_id)

    [id_] = await workshop.publish("a")
    await workshop.world.database.files.update_one({"_id": "a"}, {"$set": {"parsing": "parsed"}})
    async with at_work(workshop.settings, parse):
        await eventually(lambda: workshop.in_state("completed", id_))
    assert seen == ["a"]


async def test_an_object_that_is_not_async_cannot_have_the_session(workshop: Workshop) -> None:
    class Asking(Plain): ...

    def call(self: Any, file: Any, session: Any) -> None: ...

    call.__annotations__ = {"file": File, "session": Session}
    Asking.__call__ = call  # type: ignore[assignment, method-assign]
    with pytest.raises(UsageError, match="write async def"):
        async with at_work(workshop.settings, Asking("")):
            raise AssertionError
