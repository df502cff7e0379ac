"""Child processes that are kept running: their log lines are passed on, and one that dies is started again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from outbox.embedded.failures import NotStarted
from outbox.embedded.process import Process
from outbox.embedded.server import Server
from outbox.embedded.tail import Tail

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_STEADY_SECONDS = 60.0  # a death after running for so long counts as the first one again
_COUNTDOWN_SECONDS = 5.0


class Tell(Protocol):
    """Shows one line of a child; with `note`, one about it."""

    def __call__(self, name: str, line: str, *, note: bool = False) -> None: ...


def backoff(deaths: int) -> float:
    """Seconds before a start, after so many deaths in a row: half a second, doubling, up to half a minute."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(deaths - 1, 10))


@dataclass
class Ward:
    """A child in the supervisor's care.

    `pause` is how many seconds it stays dead, by the number of its deaths in a row. `advice` is told while it is dead.
    `shown` turns a line of its log into what is passed on, or None for nothing.
    """

    process: Process
    pause: Callable[[int], float] = backoff
    advice: str = ""
    shown: Callable[[str], str | None] = str
    stop_seconds: float = 10.0
    deaths: int = field(default=0, init=False)
    started_at: float = field(default=0.0, init=False)
    due: float | None = field(default=None, init=False)  # when it is started again; None while it runs
    told_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.tail = Tail(self.process.log)

    def start(self, now: float) -> None:
        self.process.start()
        self.started_at, self.due = now, None
        if isinstance(self.process, Server):
            self.tail.skip()  # it answers: how it got there is of no interest


class Supervisor:
    """Starts children in the order they are added, and stops them in the reverse one. Driven by calls of `tick`."""

    def __init__(self, tell: Tell, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._wards: list[Ward] = []

    def add(self, ward: Ward) -> None:
        """Start a child and keep it running. Raises what its `start` raises; it is not kept then."""
        ward.start(self._clock())
        self._wards.append(ward)

    def tick(self) -> None:
        """Pass on new log lines, and look after children that have died. To be called a few times a second."""
        for ward in self._wards:
            self._pass_on(ward)
            if ward.due is not None:
                self._revive(ward, ward.due, self._clock())
            elif not ward.process.running:
                self._mourn(ward, self._clock())

    def stop(self) -> None:
        """Stop them, each once the one before it has ended. May be called again when it was interrupted."""
        for ward in reversed(self._wards):
            if ward.process.running:
                self._tell(ward.process.name, "stopping", note=True)
                ward.process.stop(ward.stop_seconds)
            self._pass_on(ward)

    def kill(self) -> None:
        """Kill all of them at once."""
        for ward in reversed(self._wards):
            ward.process.kill()

    def _pass_on(self, ward: Ward) -> None:
        for line in ward.tail.lines():
            if (shown := ward.shown(line)) is not None:
                self._tell(ward.process.name, shown)

    def _mourn(self, ward: Ward, now: float) -> None:
        ward.deaths = 1 if now - ward.started_at > _STEADY_SECONDS else ward.deaths + 1
        ward.due = now + ward.pause(ward.deaths)
        self._tell(ward.process.name, f"ended unexpectedly ({_how(ward.process.returncode)})", note=True)
        self._count_down(ward, ward.due, now)

    def _revive(self, ward: Ward, due: float, now: float) -> None:
        if now < due:
            if now - ward.told_at >= _COUNTDOWN_SECONDS:
                self._count_down(ward, due, now)
            return
        try:
            ward.start(now)
        except NotStarted as error:
            ward.deaths += 1
            ward.due = now + ward.pause(ward.deaths)
            self._tell(ward.process.name, str(error), note=True)
            self._count_down(ward, ward.due, now)
        else:
            self._tell(ward.process.name, f"runs again, pid {ward.process.pid}", note=True)

    def _count_down(self, ward: Ward, due: float, now: float) -> None:
        ward.told_at = now
        advice = f"; {ward.advice}" if ward.advice else ""
        self._tell(
            ward.process.name, f"starts again in {round(due - now, 0 if due - now > 1 else 1):g} s{advice}", note=True
        )


def _how(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"killed by signal {-returncode}"
    return f"exit code {returncode}"
