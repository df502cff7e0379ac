"""Our subscribers under FastStream's TestRedisBroker: what they are given, and how a message ends."""

from __future__ import annotations

from typing import Any, cast

import pytest
from bson import ObjectId
from faststream import Depends
from faststream.exceptions import AckMessage, NackMessage, RejectMessage
from faststream.redis import RedisBroker, RedisStreamMessage, TestRedisBroker
from faststream.redis.parser import BinaryMessageFormatV1

from outbox.errors import UsageError
from outbox.faststream import CurrentMessage, OutboxWorker, Session, encode
from outbox.settings import OutboxSettings
from outbox.worker import GiveUp
from outbox.worker.message import Message
from tests.faststream.applications import STREAM, File
from tests.worker.workshop import Workshop

NO_SESSION = cast(Any, object())


class AnotherFormat(BinaryMessageFormatV1):
    """What an application has of its own, whose texts are not UTF-8."""

    @classmethod
    def parse(cls, data: bytes) -> tuple[bytes, dict[str, Any]]:
        body, headers = super().parse(data)
        return body.decode(errors="replace").encode("latin-1", "replace"), headers


@pytest.mark.parametrize("name", ["user", "Jürgen", "文件", "n" * 70_000])
@pytest.mark.parametrize("value", ["", "Jürgen", "文件 🗂️", "v" * 70_000, 'a "quoted" \\ line\nend'])
@pytest.mark.parametrize("given", ["with the message", "encoded"])
async def test_a_header_of_any_text_and_length_is_delivered(name: str, value: str, given: str) -> None:
    broker, seen = RedisBroker(), list[Any]()
    made = OutboxWorker(broker, OutboxSettings()).subscriber(STREAM)

    @made
    async def read(file: File, message: RedisStreamMessage) -> None:
        seen.append((file, message.headers[name], message.content_type))

    fields, headers = {"file_id": "naïve", "pages": "2"}, {name: value}
    if given == "encoded":
        fields, headers = encode(File(file_id="naïve", pages=2), headers=headers), {}
    async with TestRedisBroker(broker):
        await made.handle(Message(ObjectId(), STREAM, "a", fields, headers, 1), NO_SESSION)
    assert seen == [(File(file_id="naïve", pages=2), value, "application/json")]


@pytest.mark.parametrize("text", ["", "naïve 文件", "x" * 70_000, "\x89BIN\r\n\x1a\n\x00\x01", '{"data": 1}', "[1, 2"])
@pytest.mark.parametrize("encoded", [True, False])
async def test_a_body_of_any_text_is_delivered(text: str, encoded: bool) -> None:
    """Also one that nobody has encoded, and that is in the field of those."""
    broker, seen = RedisBroker(), list[Any]()
    made = OutboxWorker(broker, OutboxSettings()).subscriber(STREAM)

    @made
    async def read(message: RedisStreamMessage) -> None:
        seen.append((message.body.decode(), message.headers["user"]))

    fields = encode(text) if encoded else {"__data__": text}
    async with TestRedisBroker(broker):
        await made.handle(Message(ObjectId(), STREAM, "a", fields, {"user": "Jürgen"}, 1), NO_SESSION)
    assert seen == [(text, "Jürgen")]


async def test_another_format_of_the_broker_is_kept() -> None:
    broker, seen = RedisBroker(message_format=AnotherFormat), list[Any]()
    made = OutboxWorker(broker, OutboxSettings()).subscriber(STREAM)

    @made
    async def read(message: RedisStreamMessage) -> None:
        seen.append(message.raw_message["data"][b"__data__"].startswith(AnotherFormat.IDENTITY_HEADER))

    async with TestRedisBroker(broker):
        await made.handle(Message(ObjectId(), STREAM, "a", encode("naïve"), {"user": "a"}, 1), NO_SESSION)
    assert seen == [True]


async def test_parsers_decoders_and_dependencies_are_faststreams() -> None:
    broker, calls = RedisBroker(), list[str]()

    async def parse(raw: Any, original: Any) -> Any:
        calls.append("parser")
        return await original(raw)

    async def decode(message: Any, original: Any) -> Any:
        calls.append("decoder")
        return await original(message)

    async def depend() -> None:
        calls.append("dependency")

    worker = OutboxWorker(broker, OutboxSettings())
    made = worker.subscriber(STREAM, parser=parse, decoder=decode, dependencies=[Depends(depend)])

    @made
    async def read(file: File) -> None:
        calls.append(file.file_id)

    async with TestRedisBroker(broker):
        await made.handle(Message(ObjectId(), STREAM, "a", {"file_id": "a"}, {}, 1), NO_SESSION)
    assert calls == ["parser", "decoder", "dependency", "a"]


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("concurency", "did you mean concurrency"),
        ("dependancies", "did you mean dependencies"),
        ("streams", "there are: .*lifespan"),
        ("no_ack", "there are: .*parser"),
    ],
)
def test_an_option_that_there_is_not_is_refused_where_it_is_written(option: str, hint: str) -> None:
    options: dict[str, Any] = {option: 1}
    with pytest.raises(UsageError, match=f"{option} is no option of a subscriber; {hint}"):
        OutboxWorker(RedisBroker(), OutboxSettings()).subscriber(STREAM, **options)
    with pytest.raises(UsageError, match=f"{option} is no option"):
        OutboxWorker(RedisBroker(), OutboxSettings(), **options)


@pytest.mark.parametrize(
    ("ends", "raised", "lasts"),
    [
        (None, None, True),
        (AckMessage, None, True),
        (NackMessage, NackMessage, False),
        (RejectMessage, GiveUp, False),
        ("ack", None, True),
        ("nack", NackMessage, False),
        ("reject", GiveUp, False),
    ],
)
async def test_outcomes_are_those_of_production(ends: Any, raised: Any, lasts: bool, workshop: Workshop) -> None:
    broker, database = RedisBroker(), workshop.settings.mongodb_database

    @OutboxWorker(broker, workshop.settings).subscriber(STREAM)
    async def parse(file: File, session: Session, message: CurrentMessage, raw: RedisStreamMessage) -> None:
        await session.client[database]["files"].insert_one({"_id": file.file_id}, session=session)
        if isinstance(ends, str):
            await getattr(raw, ends)()
        elif ends:
            raise ends

    async with TestRedisBroker(broker) as app:
        if raised:
            with pytest.raises(raised):
                await app.publish(File(file_id="a"), stream=STREAM)
        else:
            await app.publish(File(file_id="a"), stream=STREAM)
    assert await workshop.world.database.files.count_documents({"_id": "a"}) == lasts


@pytest.mark.parametrize("how", ["commit_transaction", "abort_transaction"])
async def test_a_handler_that_ends_its_transaction_fails_as_in_production(how: str, workshop: Workshop) -> None:
    broker, database = RedisBroker(), workshop.settings.mongodb_database

    @OutboxWorker(broker, workshop.settings).subscriber(STREAM)
    async def parse(file: File, session: Session) -> None:
        await session.client[database]["files"].insert_one({"_id": file.file_id}, session=session)
        await getattr(session, how)()

    async with TestRedisBroker(broker) as app:
        with pytest.raises(Exception, match="leave begin, commit and abort to the worker"):
            await app.publish(File(file_id="a"), stream=STREAM)
    assert await workshop.world.database.files.count_documents({"_id": "a"}) == 0
