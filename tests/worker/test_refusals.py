"""MongoDB refuses a worker's own statements: that is no failure of the handler, unless it is about the message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession
from structlog.testing import capture_logs

from outbox.database import OUTBOX
from outbox.delivery.entries import OURS
from outbox.embedded import Mongod
from outbox.worker import Message
from outbox.worker.completion import Completions
from outbox.worker.failures import Failed
from outbox.worker.locks import connection_name
from tests.waiting import eventually
from tests.worker.workshop import Workshop

INTERRUPTED, DISK_FULL, UNAUTHORIZED, TOO_LARGE = 11601, 14031, 13, 388


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod of this module's own, whose commands can be made to fail."""
    with Mongod(tmp_path_factory.mktemp("mongod"), extra_args=["--setParameter", "enableTestCommands=1"]) as server:
        yield server


@pytest.fixture
def mongodb_uri(fragile: Mongod) -> str:
    return fragile.uri


class Writers:
    """A handler of each form, that writes its result."""

    def __init__(self, workshop: Workshop) -> None:
        self.calls: list[str] = []
        self._workshop = workshop
        self._change = {"$set": {"parsing": "parsed"}}

    async def without_session(self, message: Message) -> None:
        self.calls.append(message.key)
        await self._workshop.world.settle(message.key)

    async def with_session(self, message: Message, session: AsyncClientSession) -> None:
        self.calls.append(message.key)
        files: Any = session.client[self._workshop.world.database.name].files
        await files.update_one({"_id": message.key}, self._change, session=session)

    def plain(self, message: Message, session: ClientSession) -> None:
        self.calls.append(message.key)
        files: Any = session.client[self._workshop.world.database.name].files
        files.update_one({"_id": message.key}, self._change, session=session)

    async def many(self, messages: list[Message], session: AsyncClientSession) -> None:
        for message in messages:
            await self.with_session(message, session)


FORMS = [Writers.without_session, Writers.with_session, Writers.plain, Writers.many]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("code", [INTERRUPTED, DISK_FULL, UNAUTHORIZED])
async def test_a_completion_that_the_server_refuses_once_costs_no_try(
    form: Callable[..., Any], code: int, workshop: Workshop, fragile: Mongod
) -> None:
    """What a handler without a session did is done, so it is not called again. Others wrote what did not last."""
    writers = Writers(workshop)
    [id_] = await workshop.publish("a")
    with failing(fragile, workshop, {"times": 1}, "update", OUTBOX, code):
        async with workshop.working(form.__get__(writers), name="worker"):
            await eventually(lambda: workshop.in_state("completed", id_), 30)
    assert "failed" not in await workshop.message(id_)
    assert writers.calls == ["a"] * (1 if form is Writers.without_session else 2)


@pytest.mark.parametrize("form", [Writers.without_session, Writers.with_session, Writers.plain])
async def test_a_right_that_is_missing_to_read_subjects_is_waited_for(
    form: Callable[..., Any], workshop: Workshop, fragile: Mongod
) -> None:
    """Every handler succeeds. An operator is told what is wrong, and no message dies of it."""
    writers = Writers(workshop)
    [id_] = await workshop.publish("a")
    with capture_logs() as logs, failing(fragile, workshop, "alwaysOn", "find", "files", UNAUTHORIZED) as off:
        async with workshop.working(form.__get__(writers), name="worker"):
            await eventually(lambda: [line for line in logs if "lacks a right" in line.get("cause", "")], 30)
            off()
            await eventually(lambda: workshop.in_state("completed", id_), 30)
    assert "failed" not in await workshop.message(id_)


@pytest.mark.parametrize("form", FORMS)
async def test_what_the_server_has_against_the_message_itself_is_its_failure(
    form: Callable[..., Any], workshop: Workshop
) -> None:
    """To wait would not help: a validator, or a size, refuses it each time."""
    writers = Writers(workshop)
    [id_] = await workshop.publish("a")
    await refuse_completion(workshop, "a")
    async with workshop.working(form.__get__(writers), name="worker"):
        await eventually(lambda: workshop.in_state("scheduled", id_), 30)
    message = await workshop.message(id_)
    assert message["failed"] == 1
    assert "validation" in message["last_error"]


@pytest.mark.parametrize("form", [Writers.with_session, Writers.plain])
async def test_a_transaction_that_is_too_large_is_its_handlers_failure(
    form: Callable[..., Any], workshop: Workshop, fragile: Mongod
) -> None:
    """It would be as large each time."""
    writers = Writers(workshop)
    [id_] = await workshop.publish("a")
    with failing(fragile, workshop, {"times": 1}, "update", OUTBOX, TOO_LARGE):
        async with workshop.working(form.__get__(writers), name="worker"):
            await eventually(lambda: workshop.in_state("scheduled", id_), 30)
    assert (await workshop.message(id_))["failed"] == 1


async def test_of_messages_that_are_completed_together_the_one_that_is_refused_fails(workshop: Workshop) -> None:
    ids = await workshop.publish("good", "bad", "better")
    await workshop.world.settle("good", "bad", "better")
    await refuse_completion(workshop, "bad")
    completions = Completions(workshop.world.database, workshop.stream)
    messages = [Message.of(await workshop.message(id_), 1, workshop.stream.subject) for id_ in ids]
    ends = await asyncio.gather(*map(completions.complete, messages), return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), Failed, type(None)]
    assert await workshop.in_state("completed", ids[0], ids[2])


async def refuse_completion(workshop: Workshop, key: str) -> None:
    """From now on this message is refused, as of a state that the validator does not know."""
    database = workshop.world.database
    [known] = await (await database.list_collections(filter={"name": OUTBOX})).to_list()
    refused = {"$nor": [{"key": key, "state": "completed"}]}
    await database.command("collMod", OUTBOX, validator={"$and": [known["options"]["validator"], refused]})


@contextmanager
def failing(
    mongod: Mongod, workshop: Workshop, mode: Any, command: str, collection: str, code: int
) -> Iterator[Callable[[], object]]:
    """While this lasts, a command of the worker on this collection fails. What is given ends it."""
    data = {
        "failCommands": [command],
        "errorCode": code,
        "namespace": f"{workshop.world.database.name}.{collection}",
        "appName": connection_name(f"{OURS}worker", workshop.settings.place),
    }
    with mongod.client() as client:
        client.admin.command("configureFailPoint", "failCommand", mode=mode, data=data)

        def off() -> None:
            client.admin.command("configureFailPoint", "failCommand", mode="off")

        try:
            yield off
        finally:
            off()
