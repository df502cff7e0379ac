"""A handler's transaction belongs to the worker: what ends it otherwise fails with words, and soon."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from outbox.worker import Message
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
