"""Timed jobs take their turns whatever the host's wall clock does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from types import SimpleNamespace

import pytest
from apscheduler.schedulers import base
from apscheduler.triggers.interval import IntervalTrigger

from outbox.servers import timed_jobs
from outbox.servers.timed_jobs import Jobs
from tests.waiting import eventually

DAY = 86_400.0


class Clock:
    """The wall clock of this host, as timed jobs and APScheduler see it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        clock = self

        class Stepped(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Stepped:
                return cls.fromtimestamp(time.time() + clock.ahead, tz)

        monkeypatch.setattr(base, "datetime", Stepped)
        patched = SimpleNamespace(time=lambda: time.time() + self.ahead, monotonic=time.monotonic)
        monkeypatch.setattr(timed_jobs, "time", patched)


class Planned:
    """Counts how often the next turn of a job is computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        compute = IntervalTrigger.get_next_fire_time

        def counted(*args: object) -> object:
            self.count += 1
            return compute(*args)

        monkeypatch.setattr(IntervalTrigger, "get_next_fire_time", counted)


@contextmanager
def turns() -> Iterator[list[None]]:
    """Those that a job has had which is wanted every second."""
    taken: list[None] = []

    async def job() -> int:
        taken.append(None)
        return 0

    def fail(error: BaseException) -> None:
        raise error

    jobs = Jobs(fail)
    jobs.add("job", job, seconds=1)
    jobs.start()
    try:
        yield taken
    finally:
        jobs.stop()


@pytest.mark.parametrize("step", [-365 * DAY, DAY], ids=["back a year", "forward a day"])
async def test_turns_go_on_after_a_step_of_the_clock_and_none_is_made_up_for(
    monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    clock, planned = Clock(monkeypatch), Planned(monkeypatch)
    with turns() as taken:
        await eventually(lambda: taken)
        clock.ahead = step
        before = len(taken)
        await eventually(lambda: len(taken) >= before + 2)
        clock.ahead = 0.0  # and as far the other way
        before = len(taken)
        await eventually(lambda: len(taken) >= before + 2)
    assert planned.count < 50
