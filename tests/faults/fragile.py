"""`outbox relay`, which sends itself a signal at a named point of its work, or whose clock is wrong.

python -m tests.faults.fragile "before mark" SIGKILL --port 0
python -m tests.faults.fragile clock 3600 --port 0
"""

from __future__ import annotations

import datetime
import os
import signal
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

Hook = Callable[[], None]


@dataclass(frozen=True)
class Point:
    """Around the `call`-th call of a method; `inside` is one that this call leads to."""

    target: str
    when: str
    call: int = 3
    inside: str = ""
    loses: str = ""
    """What is lost before, so that there is a recovery: `all`, or `checkpoints`."""


_MARK, _UPDATE = "outbox.protocol.store:Store.mark", "pymongo.asynchronous.collection:AsyncCollection.update_many"

POINTS = {
    "before fetch": Point("outbox.protocol.store:Store.fetch", "before"),
    "after fetch": Point("outbox.protocol.store:Store.fetch", "after"),
    "before publish": Point("outbox.protocol.checkpoint:Checkpoints.publish", "before"),
    "after send, before the reply": Point(
        "redis.asyncio.connection:AbstractConnection.read_response",
        "before",
        1,
        inside="outbox.protocol.checkpoint:Checkpoints.publish",
    ),
    "after the reply, before the lease moves": Point("outbox.protocol.checkpoint:Checkpoints.publish", "after"),
    "after the lease moved, before mark": Point(_MARK, "before", 6),
    "half-way through a mark": Point(_UPDATE, "before", 2, inside=_MARK),
    "after mark": Point(_MARK, "after", 6),
    "during renew": Point("outbox.protocol.leases:Leases._overview", "before"),
    "during recovery: opened": Point("outbox.protocol.checkpoint:Checkpoints.open", "after", 2, loses="all"),
    "during recovery: a page of survivors kept": Point(
        "outbox.protocol.losses:Losses.keep", "after", 1, loses="checkpoints"
    ),
    "during recovery: a page taken back": Point("outbox.protocol.losses:Losses.take_back", "after", 2, loses="all"),
    "during recovery: before its end in redis": Point(
        "outbox.protocol.checkpoint:Checkpoints.stamp", "before", 2, loses="all"
    ),
    "during recovery: before its end in mongodb": Point(
        "outbox.protocol.checkpoint:Checkpoints.stamp", "after", 2, loses="all"
    ),
}


def lay(point: Point, hook: Hook) -> None:
    """Call `hook` at `point`, once."""
    within: ContextVar[list[int] | None] = ContextVar("within", default=None)
    everywhere = [0]
    if _MARK in (point.target, point.inside):
        # A relay that keeps its change stream open during its first batches marks those of all partitions by one call
        # of that. Without it there are four for what earlier owners left, and then one for each partition at least.
        _wrap("outbox.protocol.store:Store.mark_all", lambda _: _marks_nothing)
    if point.inside:
        _wrap(point.inside, lambda original: _counting(original, within))

    def due() -> bool:
        calls = within.get() if point.inside else everywhere
        if calls is None:
            return False
        calls[0] += 1
        return calls[0] == point.call

    def around(original: Any) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            if point.when == "before":
                if due():
                    hook()
                return await original(*args, **options)
            result = await original(*args, **options)
            if due():
                hook()
            return result

        return call

    _wrap(point.target, around)


async def _marks_nothing(*_: Any) -> bool:
    return False


def _counting(original: Any, within: ContextVar[list[int] | None]) -> Any:
    async def call(*args: Any, **options: Any) -> Any:
        reset = within.set([0])
        try:
            return await original(*args, **options)
        finally:
            within.reset(reset)

    return call


def _wrap(target: str, around: Callable[[Any], Any]) -> None:
    module, _, path = target.partition(":")
    class_, method = path.split(".")
    owner = getattr(__import__(module, fromlist=[class_]), class_)
    setattr(owner, method, around(getattr(owner, method)))


def shift_clocks(seconds: float) -> None:
    """This process's wall clock is so far ahead; its monotonic clock is not. Before anything else is imported."""
    true_time, true_nanoseconds, true_now = time.time, time.time_ns, datetime.datetime.now
    true_datetime: Any = datetime.datetime

    class Instances(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, true_datetime)

    class Shifted(true_datetime, metaclass=Instances):  # type: ignore[misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return true_now(tz) + datetime.timedelta(seconds=seconds)

        @classmethod
        def utcnow(cls) -> Any:
            return true_now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=seconds)

    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: true_nanoseconds() + int(seconds * 1e9)
    datetime.datetime = Shifted  # type: ignore[misc]


def run(point: str, value: str, *options: str) -> None:
    if point == "clock":
        shift_clocks(float(value))
    else:
        lay(POINTS[point], lambda: os.kill(os.getpid(), signal.Signals[value]))
    from outbox.cli import main

    main(["relay", *options])


if __name__ == "__main__":
    run(*sys.argv[1:])
