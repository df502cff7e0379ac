"""What a handler raises may be the error of a task, of a group of tasks, or of a library, for another error."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, NoReturn

import pytest
from pymongo.errors import PyMongoError

from outbox.worker import GiveUp, Message
from tests.waiting import eventually
from tests.worker.test_any_exception import Unspeakable
from tests.worker.workshop import Workshop


async def test_what_a_task_group_raises_for_one_task_is_what_the_task_has_raised(workshop: Workshop) -> None:
    async def handle(message: Message, session: Any) -> None:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(nested())

    async def nested() -> None:
        async with asyncio.TaskGroup() as inner:
            inner.create_task(_gives_up())

    [id_] = await workshop.publish("a")
    async with workshop.working(handle):
        await eventually(lambda: workshop.in_state("dead", id_))
    assert (await workshop.message(id_))["last_error"].startswith("GiveUp: no such page")


async def _gives_up() -> None:
    raise GiveUp("no such page")


async def test_the_reason_names_each_error_of_a_group(workshop: Workshop) -> None:
    async def handle(message: Message, session: Any) -> None:
        raise ExceptionGroup("two pages", [ValueError("page 1 is empty"), Unspeakable()])

    [id_] = await workshop.publish("a")
    async with workshop.working(handle):
        await eventually(lambda: workshop.in_state("scheduled", id_))
    error = (await workshop.message(id_))["last_error"]
    assert "ValueError: page 1 is empty; Unspeakable: its text cannot be read" in error


@pytest.mark.parametrize("plain", [False, True])
async def test_a_conflict_is_known_in_whatever_it_is_raised(plain: bool, workshop: Workshop) -> None:
    """It costs no try. As frequent as conflicts are, a message would be dead after some."""
    tried: Counter[str] = Counter()

    def raise_for(error: PyMongoError, form: str) -> NoReturn:
        if form == "group":
            raise ExceptionGroup("tasks", [error, ValueError()])
        own = ValueError("the model was not saved")
        if form == "circular":
            error.__cause__ = own
        raise own from error

    async def handle(message: Message, session: Any) -> None:
        tried[message.key] += 1
        files = session.client[workshop.world.database.name].files
        await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)
        if tried[message.key] < 3:
            await session.client.admin.command("killSessions", [session.session_id])
            try:
                await files.update_one({"_id": message.key}, {"$inc": {"n": 1}}, session=session)
            except PyMongoError as error:
                raise_for(error, message.key)

    def handle_plain(message: Message, session: Any) -> None:
        tried[message.key] += 1
        files = session.client[workshop.world.database.name].files
        files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)
        if tried[message.key] < 3:
            session.client.admin.command("killSessions", [session.session_id])
            try:
                files.update_one({"_id": message.key}, {"$inc": {"n": 1}}, session=session)
            except PyMongoError as error:
                raise_for(error, message.key)

    forms = ("group", "error of a library", "circular")
    ids = await workshop.publish(*forms)
    async with workshop.working(handle_plain if plain else handle):
        await eventually(lambda: workshop.in_state("completed", *ids))
    assert tried == dict.fromkeys(forms, 3)
    assert not [id_ for id_ in ids if "failed" in await workshop.message(id_)]


async def test_a_handler_that_gives_up_because_of_a_conflict_has_its_way(workshop: Workshop) -> None:
    async def handle(message: Message, session: Any) -> None:
        await session.client.admin.command("killSessions", [session.session_id])
        files = session.client[workshop.world.database.name].files
        try:
            await files.update_one({"_id": message.key}, {"$inc": {"n": 1}}, session=session)
            await session.client.admin.command("killSessions", [session.session_id])
            await files.update_one({"_id": message.key}, {"$inc": {"n": 1}}, session=session)
        except PyMongoError as error:
            raise GiveUp("somebody else is at it") from error

    [id_] = await workshop.publish("a")
    async with workshop.working(handle):
        await eventually(lambda: workshop.in_state("dead", id_))
