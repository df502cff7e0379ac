"""The supervisor passes logs on, starts again what died, and stops in order. Its clock is turned by hand."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from outbox.embedded import Process, RedisServer
from outbox.embedded.supervisor import Supervisor, Ward, backoff
from outbox.embedded.tail import Tail
from tests.waiting import eventually_sync

TALKS = "import time; print('hello', flush=True); time.sleep(60)"
FAILS = "raise SystemExit(3)"
STOPS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye', flush=True)))
print('hello', flush=True)
time.sleep(60)
"""


class Screen:
    """What was told: "name| line" and "name* note"."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, name: str, line: str, *, note: bool = False) -> None:
        self.lines.append(f"{name}{'*' if note else '|'} {line}")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def supervisor(screen: Screen, clock: Clock) -> Iterator[Supervisor]:
    supervisor = Supervisor(screen, clock=clock)
    yield supervisor
    supervisor.kill()


@pytest.fixture
def child(tmp_path: Path) -> Callable[[str, str], Process]:
    return lambda name, program: Process(name, [sys.executable, "-c", program], tmp_path / f"{name}.log")


def test_backoff_grows_up_to_a_limit() -> None:
    assert [backoff(deaths) for deaths in (1, 2, 3, 7, 1000)] == [0.5, 1, 2, 30, 30]


def test_lines_are_passed_on(supervisor: Supervisor, screen: Screen, child: Callable[[str, str], Process]) -> None:
    loud, shy = child("loud", TALKS), child("shy", TALKS)
    supervisor.add(Ward(loud, shown=str.upper))
    supervisor.add(Ward(shy, shown=lambda _: None))
    eventually_sync(lambda: "hello" in loud.output() and "hello" in shy.output())
    supervisor.tick()
    supervisor.tick()
    assert screen.lines == ["loud| HELLO"]


def test_what_died_starts_again_when_its_pause_is_over(
    supervisor: Supervisor, screen: Screen, clock: Clock, child: Callable[[str, str], Process]
) -> None:
    process = child("child", TALKS)
    supervisor.add(Ward(process, pause=lambda _: 12, advice="be patient", shown=lambda _: None))
    process.kill()
    supervisor.tick()
    assert screen.lines == [
        "child* ended unexpectedly (killed by signal 9)",
        "child* starts again in 12 s; be patient",
    ]
    for passed in (4, 5, 11):
        clock.now = 1000 + passed
        supervisor.tick()
    assert screen.lines[2:] == ["child* starts again in 7 s; be patient", "child* starts again in 1 s; be patient"]
    assert process.returncode == -signal.SIGKILL
    clock.now = 1012
    supervisor.tick()
    assert process.running
    assert screen.lines[4:] == [f"child* runs again, pid {process.pid}"]


def test_pauses_grow_until_it_runs_steadily(
    supervisor: Supervisor, clock: Clock, child: Callable[[str, str], Process]
) -> None:
    deaths: list[int] = []

    def pause(so_far: int) -> float:
        deaths.append(so_far)
        return 1

    process = child("child", FAILS)
    supervisor.add(Ward(process, pause=pause))
    for lived in (1, 1, 61, 1):
        process.wait(60)
        clock.now += lived
        supervisor.tick()
        clock.now += 1
        supervisor.tick()
    assert deaths == [1, 2, 1, 2]


def test_a_server_that_cannot_start_again_is_tried_later(
    supervisor: Supervisor, screen: Screen, clock: Clock, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path)
    supervisor.add(Ward(server))
    server.kill()
    supervisor.tick()
    server.binary = "/no/such/redis"
    clock.now += 1
    with pytest.raises(Exception, match="/no/such/redis"):
        supervisor.tick()
    server.binary = None
    server.options["no-such-option"] = "1"
    supervisor.tick()
    assert "no-such-option" in screen.lines[-2]
    assert screen.lines[-1] == "redis* starts again in 1 s"
    del server.options["no-such-option"]
    clock.now += 1
    supervisor.tick()
    assert server.running


def test_they_stop_in_reverse_order_and_their_last_words_are_passed_on(
    supervisor: Supervisor, screen: Screen, child: Callable[[str, str], Process]
) -> None:
    first, second = child("first", STOPS), child("second", STOPS)
    for process in (first, second):
        supervisor.add(Ward(process, stop_seconds=60))
    eventually_sync(lambda: "hello" in first.output() and "hello" in second.output())
    supervisor.tick()
    del screen.lines[:]
    supervisor.stop()
    assert screen.lines == ["second* stopping", "second| bye", "first* stopping", "first| bye"]
    assert (first.returncode, second.returncode) == (0, 0)


def test_kill(supervisor: Supervisor, child: Callable[[str, str], Process]) -> None:
    process = child("child", TALKS)
    supervisor.add(Ward(process))
    supervisor.kill()
    assert process.returncode == -signal.SIGKILL


def test_a_tail_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.lines() == []
    with path.open("ab", buffering=0) as log:
        log.write(b"one\ntw")
        assert tail.lines() == ["one"]
        log.write(b"o\nthree\nfo")
        assert tail.lines() == ["two", "three"]
        log.write(b"ur\n\xff\n")
        assert Tail(path).lines() == []
        assert tail.lines() == ["four", "\ufffd"]
