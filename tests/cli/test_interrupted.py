"""Ctrl-C ends a command: nothing that was not done by then is done afterwards."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from outbox.cli import dead as cli_dead
from outbox.cli import replay as cli_replay
from outbox.cli import verify as verify_command
from outbox.message.document import State
from outbox.operations import dead, jobs
from outbox.operations.jobs import Pace
from outbox.servers.paging import in_pages
from tests.cli.conftest import Cli, Shelf, Typed
from tests.waiting import PATIENCE

INTERRUPTED = 130
COMMANDS = [
    (("replay", "--since", "2h"), State.PUBLISHED),
    (("dead", "discard", "--all"), State.DEAD),
]


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Also where the tests run in the background of a shell, which has them, and all that they start, ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("command", "state"), COMMANDS)
def test_ctrl_c_at_the_question_ends_the_command(
    command: tuple[str, ...], state: State, outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = []

    class CtrlC(Typed):
        def readline(self, *_: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            stays.append("as if nothing had been pressed")
            return "y\n"

    ids = shelf.put(state, 2)
    monkeypatch.setattr("tests.cli.conftest.Typed", CtrlC)
    result = outbox(*command, types="")
    assert (result.code, result.out, stays) == (INTERRUPTED, "", [])
    assert shelf.states(*ids) == [state] * 2
    assert shelf.db.outbox_jobs.count_documents({}) == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("command", "state"), COMMANDS)
def test_ctrl_c_on_a_terminal_ends_the_command_at_its_question(
    command: tuple[str, ...], state: State, outbox: Cli, shelf: Shelf
) -> None:
    ids = shelf.put(state, 2)
    with asked(*command) as (process, keyboard):
        process.send_signal(signal.SIGINT)  # as a terminal does
        os.write(keyboard, b"y\n")
        assert process.wait(30 * PATIENCE) == INTERRUPTED
    assert shelf.states(*ids) == [state] * 2


@pytest.mark.parametrize(("module", "command", "state"), [(cli_replay, *COMMANDS[0]), (cli_dead, *COMMANDS[1])])
def test_an_interruption_that_the_driver_loses_ends_the_command(
    module: Any,
    command: tuple[str, ...],
    state: State,
    outbox: Cli,
    shelf: Shelf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = shelf.put(state, 2)
    monkeypatch.setattr(module, "confirm", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    assert outbox(*command, types="").code == INTERRUPTED
    assert shelf.states(*ids) == [state] * 2
    assert shelf.db.outbox_jobs.count_documents({}) == 0


@pytest.mark.parametrize("action", ["retry", "discard"])
def test_of_many_dead_messages_the_rest_stays(
    action: str, outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(State.DEAD, 5)
    interrupt_after(2, monkeypatch, dead, action)
    assert outbox("dead", action, "--all", *(["--yes"] if action == "discard" else [])).code == INTERRUPTED
    assert shelf.db.outbox.count_documents({"state": "dead"}) == 3


def test_of_a_replay_the_rest_is_left_to_the_relays(outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.put(State.PUBLISHED, 5)
    monkeypatch.setattr(Pace, "page", 2)
    interrupt_after(1, monkeypatch, jobs, "step")
    result = outbox("replay", "--since", "2h", "--yes")
    [job] = shelf.db.outbox_jobs.find()
    assert (result.code, job["phase"], job["replayed"]) == (INTERRUPTED, "running", 2)
    assert f"to stop it: outbox jobs cancel {job['_id']}" in result.err


def test_verify_goes_on_with_no_other_check(outbox: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(1, monkeypatch, verify_command, "server_time")
    result = outbox("verify")
    assert (result.code, result.out) == (INTERRUPTED, "")


async def test_pages_end_for_a_cancelled_task() -> None:
    async def found() -> AsyncIterator[int]:
        for number in range(5):
            yield number
            if number == 2:
                await lose_an_interruption(asyncio.current_task())

    pages: list[list[int]] = []

    async def look() -> None:
        async for page in in_pages(found(), 2):
            pages.append(page)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(look())
    assert pages == [[0, 1]]


def interrupt_after(calls: int, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Ctrl-C once `name` has been called so often, of which nothing is heard, as when the driver has just an answer."""
    real: Callable[..., Awaitable[Any]] = getattr(module, name)
    made = 0

    async def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal made
        result = await real(*arguments, **options)
        made += 1
        if made == calls:
            await lose_an_interruption()
        return result

    monkeypatch.setattr(module, name, interrupted)


async def lose_an_interruption(task: asyncio.Task[Any] | None = None) -> None:
    if task:
        task.cancel()
    else:
        signal.raise_signal(signal.SIGINT)
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


@contextmanager
def asked(*command: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`outbox` as a process of its own, at a terminal of its own, once it asks."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "outbox", *command], stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    try:
        seen, end = b"", time.monotonic() + 30 * PATIENCE
        while b"[y/n]" not in seen:
            assert time.monotonic() < end, seen
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 4096)
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
