"""A child process ends with its parent, whatever ends the parent, and only when it is told to otherwise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from outbox.embedded import Process
from tests.processes import is_alive
from tests.waiting import eventually_sync

SLEEPS = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
DEAF = [*SLEEPS[:2], f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS[2]}"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "child.log"


def is_up(process: Process) -> bool:
    return "up" in process.output()


def test_stop_asks_first(log: Path) -> None:
    with Process("child", SLEEPS, log) as child:
        assert child.stop() == -signal.SIGTERM
        assert not child.running


def test_stop_kills_what_does_not_listen(log: Path) -> None:
    with Process("child", DEAF, log) as child:
        eventually_sync(lambda: is_up(child))
        assert child.stop(seconds=0.1) == -signal.SIGKILL


def test_a_paused_process_can_be_stopped(log: Path) -> None:
    with Process("child", SLEEPS, log) as child:
        eventually_sync(lambda: is_up(child))
        child.pause()
        eventually_sync(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
        assert child.running
        assert child.stop() == -signal.SIGTERM


def test_resume(log: Path) -> None:
    with Process("child", SLEEPS, log) as child:
        eventually_sync(lambda: is_up(child))
        child.pause()
        eventually_sync(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
        child.resume()
        eventually_sync(lambda: psutil.Process(child.pid).status() != psutil.STATUS_STOPPED)


def test_output_is_that_of_the_last_start_and_the_log_has_all(log: Path) -> None:
    child = Process("child", [sys.executable, "-c", "print('once')"], log)
    for _ in range(2):
        with child:
            assert child.wait(60) == 0
            assert child.output() == "once\n"
    assert log.read_text() == "once\nonce\n"


def test_a_program_that_cannot_be_run_says_so(log: Path) -> None:
    with Process("child", ["/no/such/program"], log) as child:
        assert child.wait(60) == 1
        assert "/no/such/program cannot be run: No such file or directory" in child.output()


def test_before_its_start_it_has_no_pid(log: Path) -> None:
    child = Process("child", SLEEPS, log)
    assert not child.running
    assert child.returncode is None
    with pytest.raises(RuntimeError, match="child has not been started"):
        _ = child.pid


def test_it_does_not_get_the_terminals_interrupt(log: Path) -> None:
    with Process("child", SLEEPS, log) as child:
        assert os.getsid(child.pid) == child.pid


def test_it_outlives_the_thread_that_started_it(log: Path) -> None:
    child = Process("child", SLEEPS, log)

    def start() -> None:
        child.start()
        eventually_sync(lambda: is_up(child))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.2)
    child.kill()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux's")
def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from outbox.embedded import Mongod, RedisServer
folder = Path(sys.argv[1])
servers = [Mongod(folder / "mongod"), RedisServer(folder / "redis")]
for server in servers:
    server.start()
print(*(server.pid for server in servers), flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert children[0].name() == "mongod"
        parent.kill()
    assert len(children) == 2
    eventually_sync(lambda: not any(is_alive(child) for child in children), 30)
