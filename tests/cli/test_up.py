"""`outbox up` from beginning to end: everything starts, an upload is parsed, an outage is survived, nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from outbox.embedded import NotStarted, RedisServer, ports
from tests.api.connecting import Raw, upload
from tests.cli.conftest import Cli
from tests.processes import is_alive
from tests.waiting import eventually_sync

NAMES = {"mongod", "redis", "relay", "worker", "api"}


class Up:
    """A running `outbox up`, with its output in a file."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, port: int) -> None:
        self.process = process
        self.output = output
        self.url = f"http://127.0.0.1:{port}"
        self.children: list[psutil.Process] = []

    def wait_until_ready(self) -> None:
        eventually_sync(lambda: "Three things to try" in self.shown(), seconds=60, what="the welcome")
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def shown(self) -> str:
        return self.output.read_text()

    def pid_of(self, name: str) -> int:
        """By its last start, as shown."""
        notes = [line for line in self.shown().splitlines() if line.startswith(f"{name:<6} * ") and "pid " in line]
        return int(notes[-1].partition("pid ")[2].split()[0])

    def upload(self, name: str) -> str:
        answer = httpx.post(
            f"{self.url}/files", files={"file": (name, b"two words")}, data={"folderId": "demo"}, timeout=60
        )
        assert answer.status_code == 201, answer.text
        return name

    def files(self) -> dict[str, str]:
        answer = httpx.get(f"{self.url}/files", params={"folderId": "demo"}, timeout=60)
        assert answer.status_code == 200, answer.text
        return {file["filename"]: file["parsing"] for file in _items(answer.json())}

    def is_parsed(self, name: str) -> bool:
        return self.files().get(name) == "parsed"

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)

    def left_behind(self) -> list[psutil.Process]:
        return [child for child in self.children if is_alive(child)]


def _items(answer: Any) -> list[dict[str, str]]:
    return answer if isinstance(answer, list) else answer["files"]


@contextmanager
def running(data_dir: Path, port: int, output: Path) -> Iterator[Up]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MONGODB_", "REDIS_"))}
    command = [sys.executable, "-m", "outbox", "up", "--data-dir", str(data_dir), "--port", str(port)]
    with output.open("wb") as log:
        # In another folder than ours, and in another session: a signal to it is a signal to nobody else.
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, cwd=output.parent, start_new_session=True
        )
    up = Up(process, output, port)
    try:
        yield up
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(20)
        eventually_sync(lambda: not up.left_behind(), what="the end of all children")


@pytest.fixture
def port() -> int:
    return ports.pick("127.0.0.1")


@pytest.mark.timeout(300)
def test_from_beginning_to_end(tmp_path: Path, port: int) -> None:
    data_dir = tmp_path / "data"
    with running(data_dir, port, tmp_path / "first.log") as up:
        up.wait_until_ready()
        pids = {name: up.pid_of(name) for name in NAMES}
        assert {child.pid for child in up.children} == set(pids.values())

        # 1 and 2 of the three things to try
        up.upload("first.txt")
        eventually_sync(lambda: up.is_parsed("first.txt"))

        # 3: Redis is killed, and uploads go on
        os.kill(pids["redis"], signal.SIGKILL)
        eventually_sync(lambda: "redis  * starts again in 15 s; uploads go on" in up.shown())
        up.upload("second.txt")
        assert up.files()["second.txt"] == "queued"
        eventually_sync(lambda: "redis  * runs again" in up.shown(), seconds=30)
        eventually_sync(lambda: up.is_parsed("second.txt"), seconds=30)

        # one of ours dies
        os.kill(pids["relay"], signal.SIGKILL)
        eventually_sync(lambda: "relay  * runs again" in up.shown(), seconds=30)
        up.upload("third.txt")
        eventually_sync(lambda: up.is_parsed("third.txt"), seconds=30)

        up.children = psutil.Process(up.process.pid).children(recursive=True)
        assert up.stop() == 0
        assert not up.left_behind()
        stopped = [line.split()[0] for line in up.shown().splitlines() if line.endswith("* stopping")]
        assert stopped == ["api", "worker", "relay", "redis", "mongod"]

    with running(data_dir, port, tmp_path / "second.log") as up:
        up.wait_until_ready()
        assert set(up.files().values()) == {"parsed"}
        assert len(up.files()) == 3
        up.upload("fourth.txt")
        eventually_sync(lambda: up.is_parsed("fourth.txt"))
        up.process.kill()  # and still nobody is left: `running` looks


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_other_ways_to_stop(tmp_path: Path, port: int, how: signal.Signals) -> None:
    with running(tmp_path / "data", port, tmp_path / "up.log") as up:
        up.wait_until_ready()
        assert up.stop(how) == 0
        assert not up.left_behind()


@pytest.mark.timeout(120)
def test_a_second_interrupt_waits_for_nothing(tmp_path: Path, port: int) -> None:
    with running(tmp_path / "data", port, tmp_path / "up.log") as up:
        up.wait_until_ready()
        with Raw(port) as raw:  # an upload under way, which the first interrupt waits for
            assert raw.send(upload("Expect: 100-continue")).answer().status == 100
            up.process.send_signal(signal.SIGINT)
            eventually_sync(lambda: "api    * stopping" in up.shown())
            assert up.stop() == 130
        assert not up.left_behind()


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with running(tmp_path / "data", port, tmp_path / "up.log") as up:
            assert up.process.wait(30) == 1
            assert f"the API cannot listen on 127.0.0.1:{port}: another program does" in up.shown()
            assert "--port" in up.shown()
            assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("where", ["a file", "under a file", "/proc/outbox", "read-only"])
def test_a_folder_that_cannot_keep_data(where: str, tmp_path: Path, port: int, cli: Cli) -> None:
    file = tmp_path / "file"
    file.touch()
    places = {"a file": file, "under a file": file / "data", "read-only": Path("/sys/kernel")}
    place = places.get(where, Path(where))
    refused = cli("up", "--data-dir", place, "--port", port)
    assert refused.code == 2
    [line] = refused.err.strip().splitlines()
    assert str(place) in line
    assert "--data-dir" in line


def test_a_server_that_cannot_keep_its_data(tmp_path: Path) -> None:
    """As after a run as another user; here with a file in the place of its folder."""
    (tmp_path / "redis").touch()
    with pytest.raises(NotStarted, match=r"cannot keep its data in .*redis.*Choose another folder"):
        RedisServer(tmp_path / "redis").start()


def test_what_started_is_stopped_when_the_next_does_not_start(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOX_REDIS_SERVER", "/no/such/redis")
    with running(tmp_path / "data", port, tmp_path / "up.log") as up:
        assert up.process.wait(60) == 1
        assert "mongod * stopping" in up.shown()
        assert "/no/such/redis" in up.shown()
