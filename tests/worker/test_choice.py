"""Handlers chosen by a field's value; messages that are snoozed; and what a lifespan yields."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient, MongoClient

from outbox.errors import UsageError
from outbox.operations import dead
from outbox.worker import Consumer, Handlers, Message, Snooze
from tests.waiting import eventually
from tests.worker.workshop import Workshop

_PARSED = {"$set": {"parsing": "parsed"}}


async def publish(workshop: Workshop, key: str, kind: str) -> ObjectId:
    [id_] = await workshop.world.append(key, kind=kind)
    await workshop.owner.drain_all()
    return id_


async def come_again(workshop: Workshop, id_: ObjectId) -> None:
    """The time that a message waits for is over."""
    await workshop.world.database.outbox.update_one({"_id": id_}, {"$set": {"state": "pending"}})
    await workshop.owner.drain_all()


def handlers_of(workshop: Workshop, calls: list[str], **options: Any) -> Handlers:
    handlers = Handlers("kind", **options)
    name = workshop.world.database.name

    @handlers.on("resize")
    async def resize(message: Message, session: Any) -> None:
        calls.append("resize")
        await session.client[name].files.update_one({"_id": message.key}, _PARSED, session=session)

    @handlers.on("scan")
    def scan(message: Message, session: Any) -> None:
        calls.append("scan")
        session.client[name].files.update_one({"_id": message.key}, _PARSED, session=session)

    @handlers.on("endless", seconds=0.3)
    async def endless(message: Message) -> None:
        await asyncio.Event().wait()

    return handlers


async def test_each_message_gets_the_handler_of_its_value(workshop: Workshop) -> None:
    calls: list[str] = []
    ids = [await publish(workshop, f"{kind} 1", kind) for kind in ("resize", "scan")]
    async with workshop.working(handlers_of(workshop, calls, unknown="dead")):
        await eventually(lambda: workshop.in_state("completed", *ids))
    assert sorted(calls) == ["resize", "scan"]


async def test_a_handler_may_have_a_time_limit_of_its_own(workshop: Workshop) -> None:
    id_ = await publish(workshop, "a", "endless")
    async with workshop.working(handlers_of(workshop, [], unknown="dead")):
        await eventually(lambda: workshop.in_state("scheduled", id_))
    assert "still at work after 0.3 s" in (await workshop.message(id_))["last_error"]


async def test_an_unknown_value_is_dead_where_that_is_declared(workshop: Workshop) -> None:
    id_ = await publish(workshop, "a", "newer")
    async with workshop.working(handlers_of(workshop, [], unknown="dead")):
        await eventually(lambda: workshop.in_state("dead", id_))
    assert "no handler for kind='newer'" in (await workshop.message(id_))["last_error"]


async def test_an_unknown_value_is_left_alone_where_that_is_declared(workshop: Workshop) -> None:
    """More often than it has tries: it waits for a worker that knows it."""
    id_ = await publish(workshop, "a", "newer")
    more = workshop.stream.retry.attempts + 1
    async with workshop.working(handlers_of(workshop, [], unknown="left alone")):
        for _ in range(more):
            await eventually(lambda: workshop.in_state("scheduled", id_))
            await come_again(workshop, id_)
        await eventually(lambda: workshop.in_state("scheduled", id_))
    message = await workshop.message(id_)
    assert (message["snoozed"], message["attempts"] - message["forgiven"]) == (more + 1, 0)
    assert "failed" not in message


def test_what_is_declared_wrongly_is_refused(workshop: Workshop) -> None:
    with pytest.raises(UsageError, match='unknown is "dead" or "left alone"'):
        Handlers("kind", unknown="skip")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has no handler"):
        Consumer(workshop.settings, Handlers("kind", unknown="dead"))
    handlers = handlers_of(workshop, [], unknown="dead")
    with pytest.raises(UsageError, match="two handlers for kind='scan'"):
        handlers.on("scan")


async def test_a_snooze_costs_no_try_and_has_a_limit_of_its_own(workshop: Workshop) -> None:
    async def handle(message: Message, session: Any) -> None:
        raise Snooze(60, "no quota", most=2)

    [id_] = await workshop.publish("a")
    async with workshop.working(handle):
        for snoozed in (1, 2):
            await eventually(lambda: workshop.in_state("scheduled", id_))
            message = await workshop.message(id_)
            assert (message["snoozed"], message["attempts"] - message["forgiven"]) == (snoozed, 0)
            assert "failed" not in message
            assert "no quota" in message["last_error"]
            await come_again(workshop, id_)
        await eventually(lambda: workshop.in_state("dead", id_))
        assert "snoozed 2 times" in (await workshop.message(id_))["last_error"]
        await dead.retry(workshop.world.database, workshop.world.streams, id_)
        await workshop.owner.drain_all()
        await eventually(lambda: workshop.in_state("scheduled", id_))
    assert (await workshop.message(id_))["snoozed"] == 1


class Resources:
    """What a lifespan yields, and which client it was given."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.closed = False


@pytest.mark.parametrize("partly", [False, True], ids=["called as it is", "by functools.partial"])
@pytest.mark.parametrize("plain", [False, True])
async def test_handlers_get_what_the_lifespan_yields_with_the_client_of_their_sessions(
    plain: bool, partly: bool, workshop: Workshop
) -> None:
    made: list[Resources] = []
    seen: list[bool] = []
    name = workshop.world.database.name

    @asynccontextmanager
    async def lifespan(client: AsyncMongoClient[Any]) -> AsyncIterator[Resources]:
        made.append(Resources(client))
        yield made[-1]
        made[-1].closed = True

    @contextmanager
    def lifespan_plain(client: MongoClient[Any]) -> Iterator[Resources]:
        made.append(Resources(client))
        yield made[-1]
        made[-1].closed = True

    async def handle(message: Message, session: Any, resources: Resources) -> None:
        seen.append(session.client is resources.client)
        await resources.client[name].files.update_one({"_id": message.key}, _PARSED, session=session)

    def handle_plain(message: Message, session: Any, resources: Resources) -> None:
        seen.append(session.client is resources.client)
        resources.client[name].files.update_one({"_id": message.key}, _PARSED, session=session)

    ids = await workshop.publish("a", "b")
    form: Any = (handle_plain, lifespan_plain) if plain else (handle, lifespan)
    async with workshop.working(form[0], lifespan=partial(form[1]) if partly else form[1]):
        await eventually(lambda: workshop.in_state("completed", *ids))
        assert not made[0].closed
    assert seen == [True, True]
    assert [one.closed for one in made] == [True]


def test_resources_that_nobody_makes_are_refused(workshop: Workshop) -> None:
    async def handle(message: Message, session: Any, resources: Any) -> None: ...

    with pytest.raises(UsageError, match="no lifespan"):
        Consumer(workshop.settings, handle)
