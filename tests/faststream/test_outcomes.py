"""How a message ends, whatever form its handler has and whatever else it does after it has said so."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from tests.faststream.applications import File, at_work
from tests.waiting import eventually
from tests.worker.workshop import Workshop


def wrapped(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as many are written: it is not async itself."""

    @functools.wraps(handler)
    def call(*args: Any, **named: Any) -> Any:
        return handler(*args, **named)

    return call


@wrapped
async def behind_a_decorator(file: File) -> Any: ...


def left_to_others(file: File) -> Any:
    return Future[None]()


def generator(file: File) -> Iterator[None]:
    yield


async def asynchronous_generator(file: File) -> AsyncIterator[None]:
    yield


async def forgot_to_await(file: File) -> Any:
    return behind_a_decorator(file)


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (behind_a_decorator, "returned a coroutine that nobody waits for"),
        (forgot_to_await, "returned a coroutine that nobody waits for"),
        (left_to_others, "returned a Future that nobody waits for"),
        (generator, "returned a generator"),
        (asynchronous_generator, "returned a generator"),
    ],
)
async def test_a_handler_of_which_nothing_has_run_completes_nothing(
    handler: Callable[..., Any], says: str, workshop: Workshop
) -> None:
    [id_] = await workshop.publish("a")
    async with at_work(workshop.settings, handler):
        await eventually(lambda: workshop.in_state("scheduled", id_))
    assert says in (await workshop.message(id_))["last_error"]
