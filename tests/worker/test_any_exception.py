"""Whatever a handler raises, the worker lives, and the attempt ends and is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest
import redis.exceptions
from bson.errors import InvalidDocument
from pymongo.errors import AutoReconnect, NetworkTimeout, OperationFailure, PyMongoError, ServerSelectionTimeoutError

from outbox.message import attempts
from outbox.message.document import Sent
from outbox.message.transitions import Cause
from outbox.worker import GiveUp, Message, RetryAfter, Snooze
from tests.waiting import eventually
from tests.worker.workshop import Workshop


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Wordless(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]


class Exits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Own(BaseException):
    pass


class LateSeconds(RetryAfter):
    def __init__(self, seconds: Any) -> None:
        super().__init__(1)
        self.seconds = seconds


class Secondless(RetryAfter):
    def __init__(self) -> None:
        Exception.__init__(self, "its class does not call that of RetryAfter")


def _labelled(error: PyMongoError) -> PyMongoError:
    error._add_error_label("TransientTransactionError")
    return error


def _deep(depth: int = 0) -> NoReturn:
    _deep(depth + 1)


def _recursion() -> BaseException:
    try:
        _deep()
    except RecursionError as error:
        return error


RAISED: dict[str, Callable[[], BaseException]] = {
    "surrogates": lambda: ValueError("caf\udce9 \ud83d"),
    "control characters": lambda: ValueError("a\0b\x1b[31mc\u202ed"),
    "huge": lambda: ValueError("x" * 10_000_000),
    "unspeakable": Unspeakable,
    "wordless": Wordless,
    "exits in str": Exits,
    "unspeakable GiveUp": lambda: type("Mute", (GiveUp,), {"__str__": Unspeakable.__str__})("x"),
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": lambda: SystemExit(0),
    "GeneratorExit": GeneratorExit,
    "own BaseException": Own,
    "CancelledError": asyncio.CancelledError,
    "StopIteration": StopIteration,
    "StopAsyncIteration": StopAsyncIteration,
    "ExceptionGroup": lambda: ExceptionGroup("several", [ValueError("a"), Unspeakable()]),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("several", [KeyboardInterrupt(), Own()]),
    "MemoryError": MemoryError,
    "RecursionError": _recursion,
    "TimeoutError": TimeoutError,
    "RetryAfter inf": lambda: RetryAfter(float("inf")),
    "RetryAfter nan": lambda: RetryAfter(float("nan")),
    "RetryAfter 1e15": lambda: RetryAfter(1e15),
    "RetryAfter 1e308": lambda: RetryAfter(1e308),
    "RetryAfter negative": lambda: RetryAfter(-5, "at once"),
    "RetryAfter text": lambda: RetryAfter("soon"),  # type: ignore[arg-type]
    "seconds set later": lambda: LateSeconds("soon"),
    "seconds set to nan": lambda: LateSeconds(float("nan")),
    "no seconds": Secondless,
    "snoozed a text's number of times": lambda: Snooze(60, most="often"),  # type: ignore[arg-type]
    "snoozed None times": lambda: Snooze(60, most=None),  # type: ignore[arg-type]
    "another MongoDB is away": lambda: ServerSelectionTimeoutError("mine"),
    "another MongoDB's transaction": lambda: _labelled(AutoReconnect("mine")),
    "another MongoDB's time-out": lambda: _labelled(NetworkTimeout("mine")),
    "another MongoDB's conflict": lambda: _labelled(OperationFailure("mine", 112)),
    "another Redis": lambda: redis.exceptions.ConnectionError("mine"),
    "not BSON": lambda: InvalidDocument("mine"),
}


@pytest.mark.parametrize("form", ["async", "plain", "async alone", "plain alone"])
async def test_the_worker_lives_and_the_attempt_is_counted(form: str, workshop: Workshop) -> None:
    calls: dict[str, int] = {}

    def fail(message: Message) -> None:
        calls[message.key] = calls.get(message.key, 0) + 1
        if message.key in RAISED:
            raise RAISED[message.key]()

    async def handle(message: Message, session: Any) -> None:
        fail(message)
        files = session.client[workshop.world.database.name].files
        await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

    def handle_plain(message: Message, session: Any) -> None:
        fail(message)
        files = session.client[workshop.world.database.name].files
        files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

    async def alone(message: Message) -> None:
        fail(message)
        await workshop.world.settle(message.key)

    def alone_plain(message: Message) -> None:
        fail(message)
        asyncio.run_coroutine_threadsafe(workshop.world.settle(message.key), loop).result()

    loop = asyncio.get_running_loop()
    handler: Any = {"async": handle, "plain": handle_plain, "async alone": alone, "plain alone": alone_plain}[form]
    began = datetime.now(UTC)
    ids = dict(zip(RAISED, await workshop.publish(*RAISED), strict=True))
    async with workshop.working(handler, concurrency=4):
        await eventually(workshop.all_acknowledged, 60)
        [last] = await workshop.publish("last")
        await eventually(lambda: workshop.in_state("completed", last))
    for name, id_ in ids.items():
        message = await workshop.message(id_)
        assert (message["failed"], message["attempts"], calls[name]) == (1, 1, 1), name
        assert message["state"] == ("dead" if "GiveUp" in name else "scheduled"), name
        json.dumps(message["last_error"], ensure_ascii=False).encode()
        assert "\0" not in message["last_error"], name
        if message["state"] == "scheduled":
            assert message["available_at"] <= began + timedelta(seconds=366 * 86400), name
    assert (await workshop.message(ids["RetryAfter inf"]))["available_at"] > began + timedelta(days=300)
    assert "nan" in (await workshop.message(ids["RetryAfter nan"]))["last_error"]
    assert "Unspeakable" in (await workshop.message(ids["unspeakable"]))["last_error"]
    assert (await workshop.parsing("unspeakable GiveUp")).startswith("error: ")


async def test_a_handler_that_cancels_itself_has_failed(workshop: Workshop) -> None:
    async def handle(message: Message, session: object) -> None:
        task = asyncio.current_task()
        assert task
        task.cancel()
        await asyncio.Event().wait()

    [id_] = await workshop.publish("a")
    async with workshop.working(handle):
        await eventually(lambda: workshop.in_state("scheduled", id_))


@pytest.mark.parametrize("how", ["commit_transaction", "abort_transaction", "end_session"])
@pytest.mark.parametrize("plain", [True, False])
async def test_a_handler_that_ends_the_transaction_itself_has_failed(how: str, plain: bool, workshop: Workshop) -> None:
    """Completed after an abort, a message's work would be lost without a word."""

    async def handle(message: Message, session: Any) -> None:
        files = session.client[workshop.world.database.name].files
        await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)
        await getattr(session, how)()

    def handle_plain(message: Message, session: Any) -> None:
        files = session.client[workshop.world.database.name].files
        files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)
        getattr(session, how)()

    [id_] = await workshop.publish("a")
    async with workshop.working(handle_plain if plain else handle):
        await eventually(lambda: workshop.in_state("scheduled", id_))
    message = await workshop.message(id_)
    assert message["failed"] == 1
    assert "leave begin, commit and abort to the worker" in message["last_error"]


async def test_an_error_of_the_handlers_own_transaction_is_a_conflict_and_not_a_failure(workshop: Workshop) -> None:
    """Its transaction is gone, so it is run again."""
    tried: list[int] = []

    async def handle(message: Message, session: Any) -> None:
        tried.append(message.attempt)
        files = session.client[workshop.world.database.name].files
        await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)
        if len(tried) < 3:
            await session.client.admin.command("killSessions", [session.session_id])
            await files.update_one({"_id": message.key}, {"$inc": {"n": 1}}, session=session)

    [id_] = await workshop.publish("a")
    async with workshop.working(handle):
        await eventually(lambda: workshop.in_state("completed", id_))
    assert tried == [1, 1, 1]
    assert "failed" not in await workshop.message(id_)


async def test_a_stream_may_declare_waits_that_no_date_can_hold(workshop: Workshop) -> None:

    [id_] = await workshop.publish("a")
    await attempts.again(
        workshop.world.database, Sent(id_, 1), Cause.FAILED, wait_seconds=float("inf"), reason="\ud800"
    )
    assert await workshop.in_state("scheduled", id_)
