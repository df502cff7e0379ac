"""The clients of a worker, which all its handlers share: none of them may close one for the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from pymongo.errors import InvalidOperation

from outbox.errors import UsageError
from outbox.servers.connections import lend_mongo, lend_mongo_sync
from outbox.worker import Consumer, Message
from tests.waiting import eventually
from tests.worker.workshop import Workshop

PARSED = {"$set": {"parsing": "parsed"}}


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("how", ["close", "with"])
async def test_a_handler_that_closes_its_client_fails_alone(how: str, plain: bool, workshop: Workshop) -> None:
    async def handle(message: Message, session: Any) -> None:
        files = session.client[workshop.world.database.name].files
        await files.update_one({"_id": message.key}, PARSED, session=session)
        if message.key == "closes" and how == "close":
            await session.client.close()
        elif message.key == "closes":
            async with session.client:
                pass

    def handle_plain(message: Message, session: Any) -> None:
        files = session.client[workshop.world.database.name].files
        files.update_one({"_id": message.key}, PARSED, session=session)
        if message.key == "closes" and how == "close":
            session.client.close()
        elif message.key == "closes":
            with session.client:
                pass

    [guilty] = await workshop.publish("closes")
    async with workshop.working(handle_plain if plain else handle):
        await eventually(lambda: workshop.in_state("scheduled", guilty))
        others = await workshop.publish("a", "b")
        await eventually(lambda: workshop.in_state("completed", *others))
    message = await workshop.message(guilty)
    assert message["failed"] == 1
    assert "this client is the worker's" in message["last_error"]


@pytest.mark.parametrize("plain", [True, False])
async def test_a_lifespan_that_closes_it_ends_the_worker_with_words(plain: bool, workshop: Workshop) -> None:
    @asynccontextmanager
    async def lifespan(client: Any) -> AsyncIterator[None]:
        await client.close()
        yield

    @contextmanager
    def lifespan_plain(client: Any) -> Iterator[None]:
        client.close()
        yield

    async def handle(message: Message, session: Any, resources: None) -> None: ...

    consumer = Consumer(workshop.settings, handle, lifespan=lifespan_plain if plain else lifespan)
    with pytest.raises(UsageError, match="this client is the worker's"):
        await consumer.run()


async def test_the_worker_itself_closes_them(workshop: Workshop) -> None:
    async with lend_mongo(workshop.settings) as client:
        await client.admin.command("ping")
        with pytest.raises(UsageError):
            await client.aclose()
    with pytest.raises(InvalidOperation):
        await client.admin.command("ping")
    with lend_mongo_sync(workshop.settings) as sync:
        sync.admin.command("ping")
    with pytest.raises(InvalidOperation):
        sync.admin.command("ping")
