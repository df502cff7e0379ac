"""What an action is. It says what it did, or nothing when there was nothing to do it to."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from outbox.embedded.process import Process
from tests.faults.explorer.world import World

Do = Callable[[World, random.Random], Awaitable[str | None]]


@dataclass(frozen=True)
class Action:
    name: str
    weight: int
    do: Do
    fault: bool


class Actions(list[Action]):
    """Those of one kind, to be decorated with."""

    def __call__(self, weight: int, *, fault: bool = True) -> Callable[[Do], Do]:
        def add(do: Do) -> Do:
            self.append(Action(do.__name__.replace("_", " "), weight, do, fault))
            return do

        return add


SomeProcess = TypeVar("SomeProcess", bound=Process)


def goes_on(processes: Sequence[SomeProcess], gone: set[SomeProcess], how: Callable[[SomeProcess], None]) -> str | None:
    """The first of those that are down, or asleep, goes on; returns its name, if there is one."""
    process = next((process for process in processes if process in gone), None)
    if process is None:
        return None
    how(process)
    gone.discard(process)
    return process.name
