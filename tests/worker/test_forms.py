"""Handlers of any form: what one returns says whether it is to be awaited."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession

from outbox.errors import UsageError
from outbox.worker import Message
from outbox.worker.handler import Handler
from tests.waiting import eventually
from tests.worker.workshop import Workshop

Function = Callable[..., Any]


async def parse(message: Message, session: Any) -> None:
    assert isinstance(session, AsyncClientSession)
    await _files(session).update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)


def parse_plain(message: Message, session: Any) -> None:
    assert isinstance(session, ClientSession)
    _files(session).update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)


NAME = "outbox"


def _files(session: Any) -> Any:
    return session.client[NAME].files


def undecorated(function: Function) -> Function:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def decorated(function: Function) -> Function:
    return functools.wraps(function)(undecorated(function))


def runs_it_itself(function: Function) -> Function:
    """Plain, though what it wraps is not."""

    @functools.wraps(function)
    def wrapper(message: Message, session: ClientSession) -> None:
        asyncio.run(_nothing())
        parse_plain(message, session)

    return wrapper


async def _nothing() -> None: ...


async def with_more(more: int, message: Message, session: Any) -> None:
    await parse(message, session)


async def optional(message: Message, session: Any = None) -> None:
    await parse(message, session)


def optional_plain(message: Message, session: Any = None) -> None:
    parse_plain(message, session)


async def by_name(message: Message, *, session: Any) -> None:
    await parse(message, session)


async def by_name_optional(message: Message, *, session: Any = None) -> None:
    await parse(message, session)


async def annotated(message: Message, db: AsyncClientSession | None = None) -> None:
    await parse(message, db)


async def variadic(*args: Any) -> None:
    await parse(*args)


async def with_options(message: Message, session: Any, *, retries: int = 3, **more: Any) -> None:
    await parse(message, session)


class Callee:
    async def __call__(self, message: Message, session: Any) -> None:
        await parse(message, session)

    async def method(self, message: Message, session: Any) -> None:
        await parse(message, session)

    @classmethod
    async def of_class(cls, message: Message, session: Any) -> None:
        await parse(message, session)

    @staticmethod
    def of_none(message: Message, session: Any) -> None:
        parse_plain(message, session)


class Returns:
    """Plain to look at."""

    def __call__(self, message: Message, session: Any) -> Any:
        return parse(message, session)


class Awaitable:
    def __init__(self, message: Message, session: Any) -> None:
        self._arguments = message, session

    def __await__(self) -> Any:
        return parse(*self._arguments).__await__()


async def returns_a_coroutine(message: Message, session: Any) -> Any:
    """As a decorator does that forgot to await."""
    return parse(message, session)


async def returns_a_task(message: Message, session: Any) -> Any:
    return asyncio.create_task(parse(message, session))


def in_another_thread(message: Message, session: Any) -> Future[None]:
    future: Future[None] = Future()

    def work() -> None:
        parse_plain(message, session)
        future.set_result(None)

    threading.Timer(0.05, work).start()
    return future


async def leaves_it_to_a_thread(message: Message, session: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(parse(message, session), asyncio.get_running_loop())


FORMS: dict[str, Function] = {
    "partial": functools.partial(with_more, 1),
    "partial of a partial": functools.partial(functools.partial(with_more), 1),
    "partial of an object": functools.partial(Callee()),
    "decorated": decorated(parse),
    "decorated without wraps": undecorated(parse),
    "decorated plain": undecorated(parse_plain),
    "decorated, runs it itself": runs_it_itself(parse),
    "partial of a decorated": functools.partial(decorated(with_more), 1),
    "object": Callee(),
    "object that returns": Returns(),
    "method": Callee().method,
    "classmethod": Callee.of_class,
    "staticmethod": Callee.of_none,
    "lambda": lambda message, session: parse(message, session),
    "awaitable": Awaitable,
    "optional": optional,
    "optional, plain": optional_plain,
    "by name": by_name,
    "by name, optional": by_name_optional,
    "annotated": annotated,
    "variadic": variadic,
    "options": with_options,
    "returns a coroutine": returns_a_coroutine,
    "returns a task": returns_a_task,
    "returns a thread's future": in_another_thread,
    "returns a thread's future, async": leaves_it_to_a_thread,
}


async def test_each_form_is_called_as_it_is_meant(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.worker.test_forms.NAME", workshop.world.database.name)
    for name, function in FORMS.items():
        first, second = await workshop.publish(f"{name} 1", f"{name} 2")
        async with workshop.working(function):

            async def done(ids: tuple[Any, Any] = (first, second)) -> bool:
                return await workshop.in_state("completed", *ids)

            await eventually(done, what=name)
        assert [await workshop.parsing(f"{name} {n}") for n in (1, 2)] == ["parsed", "parsed"], name
        assert "failed" not in await workshop.message(first), name


@pytest.mark.parametrize("wrapped", [True, False])
async def test_without_a_session_too(wrapped: bool, workshop: Workshop) -> None:
    async def alone(message: Message) -> None:
        await workshop.world.settle(message.key)

    [id_] = await workshop.publish("a")
    async with workshop.working(decorated(alone) if wrapped else lambda message: alone(message)):
        await eventually(lambda: workshop.in_state("completed", id_))
    assert "failed" not in await workshop.message(id_)


async def _async_generator(message: Message, session: Any) -> Any:
    yield message, session


def _generator(message: Message, session: Any) -> Any:
    yield message, session


@pytest.mark.parametrize("function", [_generator, _async_generator, functools.partial(_generator)])
def test_a_generator_is_refused(function: Function) -> None:
    with pytest.raises(UsageError, match="generator"):
        Handler.of(function)


UNRUN: dict[str, Function] = {
    "generator": _generator,
    "async generator": _async_generator,
    "context manager": contextlib.contextmanager(_generator),
    "async context manager": contextlib.asynccontextmanager(_async_generator),
    "map": lambda message, session: map(parse_plain, [message], [session]),
    "filter": lambda message, session: filter(None, [message]),
    "starmap": lambda message, session: itertools.starmap(parse_plain, [(message, session)]),
}


@pytest.mark.parametrize("name", UNRUN)
async def test_a_handler_that_returns_what_has_not_run_has_failed(name: str, workshop: Workshop) -> None:
    """On a stream without a subject, the message would be completed all the same."""
    [id_] = await workshop.publish("a")
    await workshop.world.settle("a")
    async with workshop.working(decorated_plainly(UNRUN[name])):
        await eventually(lambda: workshop.in_state("scheduled", id_))
    assert "nothing of which has run" in (await workshop.message(id_))["last_error"]


def decorated_plainly(function: Function) -> Function:
    return lambda message, session: function(message, session)


def _none() -> None: ...
def _named(message: Any, *, other: int) -> None: ...
def _only_named(*, session: Any) -> None: ...
def _three(a: int, b: int, c: int) -> None: ...


@pytest.mark.parametrize("function", [_none, _named, _only_named, _three, 7, None])
def test_what_cannot_be_called_with_a_message_is_refused(function: Any) -> None:
    with pytest.raises(UsageError, match="a handler is handle"):
        Handler.of(function)


@pytest.mark.parametrize("function", [lambda session, message: None, lambda session: None])
def test_a_handler_that_takes_the_session_first_is_refused(function: Function) -> None:
    """It would be called with the message in the session's place, and fail with each."""
    with pytest.raises(UsageError, match="the message comes first, then the session"):
        Handler.of(function)
