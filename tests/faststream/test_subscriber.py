"""FastStream's handlers with our completion, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from faststream import BaseMiddleware, Context, FastStream
from faststream.exceptions import AckMessage, NackMessage, RejectMessage
from faststream.redis import RedisBroker, RedisRouter, RedisStreamMessage
from faststream.redis.parser import BinaryMessageFormatV1, RedisStreamParser, SimpleParserConfig
from faststream.specification import AsyncAPI

from outbox.errors import SchemaError, UsageError
from outbox.faststream import CurrentMessage, OutboxWorker, Session, encode
from outbox.worker import RetryAfter
from tests.faststream.applications import STREAM, File, at_work
from tests.waiting import eventually
from tests.worker.workshop import Workshop


class Shop:
    """A handler's effects, in the transaction of its session."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.seen: list[Any] = []

    async def settle(self, file: File, session: Any, message: Any) -> None:
        self.seen.append(file)
        database = session.client[self.workshop.world.database.name]
        await database.effects.insert_one({"message": message.id}, session=session)
        await database.files.update_one({"_id": file.file_id}, {"$set": {"parsing": "parsed"}}, session=session)

    async def effects(self) -> int:
        return await self.workshop.world.database.effects.count_documents({})


@pytest.fixture
def shop(workshop: Workshop) -> Shop:
    return Shop(workshop)


async def publish(workshop: Workshop, key: str = "a", **fields: str) -> Any:
    [id_] = await workshop.world.append(key, **fields)
    await workshop.owner.drain_all()
    return id_


async def test_a_typed_body_its_effects_and_the_completion(workshop: Workshop, shop: Shop) -> None:
    calls: list[str] = []

    class Noted(BaseMiddleware):
        async def consume_scope(self, call_next: Any, msg: Any) -> Any:
            calls.append(msg.headers["message_id"])
            return await call_next(msg)

    async def parse(file: File, session: Session, message: CurrentMessage, raw: RedisStreamMessage) -> None:
        calls.append(raw.message_id)
        await shop.settle(file, session, message)

    id_ = await publish(workshop, pages="3")
    async with at_work(workshop.settings, parse, Noted):
        await eventually(lambda: workshop.in_state("completed", id_))
        await eventually(workshop.all_acknowledged)
    assert shop.seen == [File(file_id="a", pages=3)]
    assert calls == [str(id_), str(id_)]
    assert (await shop.effects(), await workshop.parsing("a")) == (1, "parsed")


async def test_a_handler_that_raises_leaves_nothing_and_is_tried_again(workshop: Workshop, shop: Shop) -> None:
    async def parse(file: File, session: Session, message: CurrentMessage) -> None:
        await shop.settle(file, session, message)
        if message.attempt == 1:
            raise RetryAfter(3600, "the parser is closed")
        raise ValueError("no such page")

    id_ = await publish(workshop)
    async with at_work(workshop.settings, parse):
        await eventually(lambda: workshop.in_state("scheduled", id_))
        stored = await workshop.message(id_)
        assert (stored["failed"], await shop.effects()) == (1, 0)
        assert "the parser is closed" in stored["last_error"]
        await workshop.world.database.outbox.update_one({"_id": id_}, {"$set": {"state": "pending", "attempts": 4}})
        await workshop.owner.drain_all()
        await eventually(lambda: workshop.in_state("dead", id_))
    assert "ValueError: no such page" in (await workshop.message(id_))["last_error"]
    assert (await shop.effects(), await workshop.parsing("a")) == (0, "error: no such page")


async def test_a_body_that_is_not_as_declared_is_a_failure(workshop: Workshop, shop: Shop) -> None:
    async def parse(file: File, session: Session, message: CurrentMessage) -> None:
        await shop.settle(file, session, message)

    id_ = await publish(workshop, pages="many")
    async with at_work(workshop.settings, parse):
        await eventually(lambda: workshop.in_state("scheduled", id_))
    assert "pages" in (await workshop.message(id_))["last_error"]
    assert shop.seen == []


@pytest.mark.parametrize(
    ("ends", "state"), [(AckMessage, "completed"), (NackMessage, "scheduled"), (RejectMessage, "dead")]
)
async def test_what_faststream_has_for_outcomes(
    ends: type[Exception], state: str, workshop: Workshop, shop: Shop
) -> None:
    async def parse(file: File, session: Session, message: CurrentMessage) -> None:
        await shop.settle(file, session, message)
        raise ends

    id_ = await publish(workshop)
    async with at_work(workshop.settings, parse):
        await eventually(lambda: workshop.in_state(state, id_))
        await eventually(workshop.all_acknowledged)
    assert await shop.effects() == (state == "completed")


@pytest.mark.parametrize(("ends", "state"), [("ack", "completed"), ("nack", "scheduled"), ("reject", "dead")])
async def test_an_outcome_that_is_given_by_hand(ends: str, state: str, workshop: Workshop, shop: Shop) -> None:
    async def parse(file: File, session: Session, message: CurrentMessage, raw: RedisStreamMessage) -> None:
        await getattr(raw, ends)()
        assert await workshop.unacknowledged() == 1
        await shop.settle(file, session, message)

    id_ = await publish(workshop)
    async with at_work(workshop.settings, parse):
        await eventually(lambda: workshop.in_state(state, id_))
    assert await shop.effects() == (state == "completed")


async def test_a_stop_finishes_what_is_in_hand(workshop: Workshop, shop: Shop) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def parse(file: File, session: Session, message: CurrentMessage) -> None:
        begun.set()
        await go_on.wait()
        await shop.settle(file, session, message)

    id_ = await publish(workshop)
    async with at_work(workshop.settings, parse) as broker:
        await begun.wait()
        stopping = asyncio.create_task(broker.stop())
        await asyncio.sleep(0)
        go_on.set()
        await stopping
        assert await workshop.in_state("completed", id_)
        assert await shop.effects() == 1


async def test_a_lifespan_is_given_the_client_that_sessions_belong_to(workshop: Workshop, shop: Shop) -> None:
    clients: list[Any] = []

    @asynccontextmanager
    async def lifespan(client: Any) -> AsyncIterator[None]:
        clients.append(client)
        yield
        clients.append("closed")

    async def parse(file: File, session: Session, message: CurrentMessage) -> None:
        clients.append(session.client)
        await shop.settle(file, session, message)

    id_ = await publish(workshop)
    async with at_work(workshop.settings, parse, lifespan=lifespan):
        await eventually(lambda: workshop.in_state("completed", id_))
    assert clients[0] is clients[1]
    assert clients[2:] == ["closed"]


async def test_a_plain_and_an_encoded_message_are_read_by_our_subscriber_alike(workshop: Workshop, shop: Shop) -> None:
    headers: dict[str, Any] = {}

    async def parse(file: File, session: Session, message: CurrentMessage, raw: RedisStreamMessage) -> None:
        headers[file.file_id] = raw.headers.get("lang")
        await shop.settle(file, session, message)

    flat = await publish(workshop, "a", pages="2")
    world = workshop.world
    await world.database.files.insert_one({"_id": "b", "parsing": "queued"})
    async with world.client.start_session() as session, await session.start_transaction():
        fields = encode(File(file_id="b", pages=3), headers={"lang": "de"})
        encoded = await world.outbox.append(session, STREAM, fields, key="b")
    await workshop.owner.drain_all()
    async with at_work(workshop.settings, parse):
        await eventually(lambda: workshop.in_state("completed", flat, encoded))
    # The two may conflict, as both make the collection of effects, and then one is called again.
    assert {file.file_id: file.pages for file in shop.seen} == {"a": 2, "b": 3}
    assert headers == {"a": None, "b": "de"}


async def test_what_only_an_operator_can_mend_ends_the_application(workshop: Workshop) -> None:
    async def parse(file: File) -> None: ...

    settings = workshop.settings.model_copy(update={"mongodb_database": f"{workshop.settings.mongodb_database}_none"})
    broker = RedisBroker(settings.redis_dsn)
    OutboxWorker(broker, settings).subscriber(STREAM)(parse)
    with pytest.raises(ExceptionGroup) as raised:
        await FastStream(broker, logger=None).run()
    assert raised.group_contains(SchemaError)


async def test_a_handler_in_a_thread_cannot_have_the_session(workshop: Workshop) -> None:
    def parse(file: File, session: Session) -> None: ...

    with pytest.raises(UsageError, match="write async def"):
        async with at_work(workshop.settings, parse):
            raise AssertionError


async def test_a_router_dependencies_and_the_asyncapi_document(workshop: Workshop, shop: Shop) -> None:
    router = RedisRouter()

    @OutboxWorker(router, workshop.settings).subscriber(STREAM, title="Files to parse")
    async def parse(file: File, session: Session, message: CurrentMessage, shop: Shop = Context()) -> None:  # noqa: B008
        await shop.settle(file, session, message)

    broker = RedisBroker(workshop.settings.redis_dsn)
    broker.include_router(router)
    broker.context.set_global("shop", shop)
    assert "Files to parse" in AsyncAPI(broker).to_specification().to_json()
    id_ = await publish(workshop)
    async with broker:
        await broker.start()
        await eventually(lambda: workshop.in_state("completed", id_))


async def test_a_parser_that_asks_no_other_is_told_its_outcome_as_well(workshop: Workshop, shop: Shop) -> None:
    """And both options of FastStream's own and those of a `Consumer` go where they belong."""
    parser = RedisStreamParser(SimpleParserConfig(BinaryMessageFormatV1))

    async def read(raw: Any) -> Any:
        return await parser.parse_message(raw)

    broker = RedisBroker(workshop.settings.redis_dsn)

    @OutboxWorker(broker, workshop.settings).subscriber(STREAM, parser=read, concurrency=2)
    async def parse(file: File, session: Session, message: CurrentMessage, raw: RedisStreamMessage) -> None:
        await shop.settle(file, session, message)
        await raw.reject()

    id_ = await publish(workshop)
    async with broker:
        await broker.start()
        await eventually(lambda: workshop.in_state("dead", id_))
    assert await shop.effects() == 0


async def test_the_prefix_of_a_router_is_part_of_the_streams_name(workshop: Workshop, shop: Shop) -> None:
    prefix, name = STREAM[:5], STREAM[5:]
    router = RedisRouter(prefix=prefix)

    @OutboxWorker(router, workshop.settings).subscriber(name)
    async def parse(file: File, session: Session, message: CurrentMessage) -> None:
        await shop.settle(file, session, message)

    broker = RedisBroker(workshop.settings.redis_dsn)
    broker.include_router(router)
    id_ = await publish(workshop)
    async with broker:
        await broker.start()
        await eventually(lambda: workshop.in_state("completed", id_))
    assert await shop.effects() == 1


def test_a_second_subscriber_of_one_stream_and_group_is_refused() -> None:
    """Each message would go to one of the two, and the other handler would never see it."""
    worker = OutboxWorker(RedisBroker())
    worker.subscriber(STREAM)
    worker.subscriber(STREAM, group="others")
    with pytest.raises(UsageError, match=f"a subscriber of stream '{STREAM}' already"):
        worker.subscriber(STREAM)
