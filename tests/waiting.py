"""Waiting for what happens elsewhere: the only place in the tests with sleeps."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

PATIENCE = 3 if "PYTEST_XDIST_WORKER" in os.environ else 1
"""What is promised in seconds is promised on a machine that does nothing else: several tests at a time wait longer."""


@overload
async def eventually(
    probe: Callable[[], Awaitable[T]], seconds: float = 10, every: float = 0.02, *, what: str = ""
) -> T: ...


@overload
async def eventually(probe: Callable[[], T], seconds: float = 10, every: float = 0.02, *, what: str = "") -> T: ...


async def eventually(probe: Callable[[], Any], seconds: float = 10, every: float = 0.02, *, what: str = "") -> Any:
    """The first true value that `probe` returns or resolves to; AssertionError when there is none in
    `seconds`.

    An AssertionError that the probe raises counts as not yet, and is the one shown in the end.
    """
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        last: object = None
        try:
            outcome = probe()
            value = await outcome if inspect.isawaitable(outcome) else outcome
        except AssertionError as error:
            if time.monotonic() > deadline:
                raise
            last = error
        else:
            if value:
                return value
            last = value
        _check(deadline, seconds, what, last)
        await asyncio.sleep(every)


def eventually_sync(probe: Callable[[], T], seconds: float = 10, every: float = 0.02, *, what: str = "") -> T:
    """The same for a test without an event loop."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        last: object = None
        try:
            value = probe()
        except AssertionError as error:
            if time.monotonic() > deadline:
                raise
            last = error
        else:
            if value:
                return value
            last = value
        _check(deadline, seconds, what, last)
        time.sleep(every)


def answers(url: str) -> bool:
    """Whether a server answers a GET, and not with an error.

    Not by httpx.get, which reads all certificates of the system for each: to look fifty times a second would cost more
    than the start that is waited for.
    """
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False


async def stays(probe: Callable[[], Awaitable[object]], seconds: float, every: float = 0.05) -> None:
    """`probe` resolves to something true all the time for `seconds`; AssertionError as soon as it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert await probe(), f"it did not stay so for {seconds:g} s"
        await asyncio.sleep(every)


async def pass_by(seconds: float) -> None:
    """Let time go by, where chance says how much and nothing is waited for."""
    await asyncio.sleep(seconds)


def _check(deadline: float, seconds: float, what: str, last: object) -> None:
    if time.monotonic() > deadline:
        raise AssertionError(
            f"{what or 'it'} did not happen in {seconds * PATIENCE:g} s; the probe's last answer: {last!r}"
        )
