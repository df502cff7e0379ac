"""A handler's transaction belongs to the worker: what ends it otherwise fails with words, and soon."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from pymongo.errors import DuplicateKeyError
from structlog.testing import capture_logs

from outbox.worker import Message
from outbox.worker.work import ENDED_MOST
from tests.waiting import eventually
from tests.worker.workshop import Workshop


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("first", ["commit_transaction", "abort_transaction"])
async def test_a_handler_that_begins_again_has_failed_and_nothing_of_it_lasts(
    first: str, plain: bool, workshop: Workshop
) -> None:
    """A part that it had committed would be there twice after a conflict, a failover or a crash."""

    async def handle(message: Message, session: Any) -> None:
        files = session.client[workshop.world.database.name].files

        async def called(returned: Any) -> None:
            if inspect.isawaitable(returned):
                await returned

        await called(files.update_one({"_id": message.key}, {"$inc": {"effects": 1}}, session=session))
        await called(getattr(session, first)())
        await called(session.start_transaction())
        await called(files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session))

    def handle_plain(message: Message, session: Any) -> None:
        asyncio.run(handle(message, session))

    [id_] = await workshop.publish("a")
    async with workshop.working(handle_plain if plain else handle):
        await eventually(lambda: workshop.in_state("scheduled", id_))
    message = await workshop.message(id_)
    assert message["failed"] == 1
    assert "leave begin, commit and abort to the worker" in message["last_error"]
    file = await workshop.world.database.files.find_one({"_id": "a"})
    assert file
    assert ("effects" in file, file["parsing"]) == (False, "queued")


async def test_a_handler_that_catches_the_refusal_is_completed_with_all_that_it_wrote(workshop: Workshop) -> None:
    async def handle(message: Message, session: Any) -> None:
        files = session.client[workshop.world.database.name].files
        await files.update_one({"_id": message.key}, {"$inc": {"effects": 1}}, session=session)
        with pytest.raises(Exception, match="leave begin, commit and abort to the worker"):
            await session.commit_transaction()
        await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

    [id_] = await workshop.publish("a")
    async with workshop.working(handle):
        await eventually(lambda: workshop.in_state("completed", id_))
    file = await workshop.world.database.files.find_one({"_id": "a"})
    assert file
    assert file["effects"] == 1


class Inserters:
    """A handler of each form, that inserts what is there already, and catches the error."""

    def __init__(self, workshop: Workshop, *, writes_on: bool = False) -> None:
        self._name = workshop.world.database.name
        self._writes_on = writes_on
        self.calls: list[int] = []

    async def one(self, message: Message, session: Any) -> None:
        await self.many([message], session)

    async def many(self, messages: Sequence[Message], session: Any) -> None:
        self.calls.append(len(messages))
        database = session.client[self._name]
        for message in messages:
            await database.files.update_one({"_id": message.key}, _PARSED, session=session)
        for message in messages:
            with suppress(DuplicateKeyError):
                await database.once.insert_one({"_id": message.key}, session=session)
        if self._writes_on:
            await database.effects.insert_one({}, session=session)

    def plain(self, message: Message, session: Any) -> None:
        self.calls.append(1)
        database = session.client[self._name]
        database.files.update_one({"_id": message.key}, _PARSED, session=session)
        with suppress(DuplicateKeyError):
            database.once.insert_one({"_id": message.key}, session=session)
        if self._writes_on:
            database.effects.insert_one({}, session=session)


_PARSED = {"$set": {"parsing": "parsed"}}


@pytest.mark.parametrize("writes_on", [True, False])
@pytest.mark.parametrize("form", ["one", "plain"])
async def test_an_error_that_a_handler_catches_is_named_after_a_few_calls(
    form: str, writes_on: bool, workshop: Workshop
) -> None:
    """It has ended the transaction, and would each time: a handler called for minutes would tell nobody why."""
    inserters = Inserters(workshop, writes_on=writes_on)
    await workshop.world.database.once.insert_one({"_id": "a"})
    [id_] = await workshop.publish("a")
    with capture_logs() as logs:
        async with workshop.working(getattr(inserters, form)):
            await eventually(lambda: workshop.in_state("scheduled", id_))
    message = await workshop.message(id_)
    assert message["failed"] == 1
    assert "it caught an error of a statement in it" in message["last_error"]
    assert len(inserters.calls) == ENDED_MOST + 1
    [line] = [line for line in logs if line["event"].startswith("transaction ended before")]
    assert (line["log_level"], line["message"]) == ("warning", str(id_))


async def test_an_error_that_a_handler_of_many_catches_holds_up_no_others(workshop: Workshop) -> None:
    inserters = Inserters(workshop)
    await workshop.world.database.once.insert_one({"_id": "d"})
    *others, bad = await workshop.publish("a", "b", "c", "d")
    async with workshop.working(inserters.many):
        await eventually(lambda: workshop.in_state("completed", *others))
        await eventually(lambda: workshop.in_state("scheduled", bad))
    assert len([count for count in inserters.calls if count > 1]) <= ENDED_MOST + 1


async def test_a_handler_whose_transaction_took_too_long_is_not_called_for_as_long_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outbox.worker.work.LIFETIME_SECONDS", 0.5)
    calls: list[int] = []

    async def handle(message: Message, session: Any) -> None:
        calls.append(message.attempt)
        await session.client[workshop.world.database.name].files.update_one({"_id": "a"}, _PARSED, session=session)
        await asyncio.sleep(0.5)
        await session.client.admin.command("killSessions", [session.session_id])  # as the server does after a minute

    [id_] = await workshop.publish("a")
    async with workshop.working(handle):
        await eventually(lambda: workshop.in_state("scheduled", id_))
    assert calls == [1, 1]  # the first time might have been an election
    assert "took longer than the server allows" in (await workshop.message(id_))["last_error"]


@pytest.mark.parametrize("plain", [True, False])
async def test_a_conflict_after_long_work_is_no_failure(
    plain: bool, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time for calls again is counted from the first conflict, and not from before the first call."""
    monkeypatch.setattr("outbox.worker.work.CONFLICT_SECONDS", 0.5)
    calls: list[int] = []
    files = workshop.world.database.files

    async def conflict() -> None:
        await asyncio.sleep(0.6)
        await files.update_one({"_id": "a"}, {"$inc": {"of_another": 1}})

    async def handle(message: Message, session: Any) -> None:
        calls.append(message.attempt)
        written = session.client[workshop.world.database.name].files
        await written.find_one({"_id": message.key}, session=session)
        if len(calls) == 1:
            await conflict()
        await written.update_one({"_id": message.key}, _PARSED, session=session)

    def handle_plain(message: Message, session: Any) -> None:
        calls.append(message.attempt)
        written = session.client[workshop.world.database.name].files
        written.find_one({"_id": message.key}, session=session)
        if len(calls) == 1:
            asyncio.run_coroutine_threadsafe(conflict(), loop).result()
        written.update_one({"_id": message.key}, _PARSED, session=session)

    loop = asyncio.get_running_loop()
    [id_] = await workshop.publish("a")
    async with workshop.working(handle_plain if plain else handle):
        await eventually(lambda: workshop.in_state("completed", id_))
    assert calls == [1, 1]
    assert "failed" not in await workshop.message(id_)
