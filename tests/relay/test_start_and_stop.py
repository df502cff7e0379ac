"""Relays and workers that wait for their servers, as processes: they answer, and a stop works at any moment."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from outbox.embedded import ports
from tests.relay.processes import RelayProcess, a_relay
from tests.slow import mostly
from tests.waiting import PATIENCE, eventually
from tests.worker.processes import WorkerProcess, running

STOP_SECONDS = 15 * PATIENCE
"""Within which an idle process is gone, whatever it waits for."""


NOBODY = {"MONGODB_URI": "mongodb://127.0.0.1:1/?replicaSet=rs0"}


class Program(RelayProcess):
    def __init__(self, log: Path, environment: dict[str, str], text: str) -> None:
        super().__init__(log, environment)
        self._text = text

    def command(self) -> list[str]:
        return [sys.executable, "-c", self._text]


@contextmanager
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


ADDRESSES = ("refuses", "silent", "has no name", "cannot be looked up")


@pytest.fixture(params=mostly(ADDRESSES, but=("silent", "cannot be looked up")))
def nobody(request: pytest.FixtureRequest) -> Iterator[str]:
    """MONGODB_URI of a server that does not answer."""
    with silent() as address:
        yield {
            "refuses": "mongodb://127.0.0.1:1/?replicaSet=rs0",
            "silent": f"mongodb://{address}/?replicaSet=rs0",
            "has no name": "mongodb://nobody.example.invalid/?replicaSet=rs0",
            "cannot be looked up": "mongodb+srv://nobody.example.invalid/",
        }[request.param]


def ask(port: int, path: str) -> tuple[int, Any] | None:
    try:
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as reply:
                return reply.status, json.loads(reply.read())
        except HTTPError as error:
            return error.code, json.loads(error.read())
    except (URLError, OSError):
        return None


async def answers(port: int, path: str, expected: int) -> Any:
    async def answered() -> Any:
        found = await asyncio.to_thread(ask, port, path)
        return found[1] if found and found[0] == expected else None

    return await eventually(answered, 20, what=f"{path} answers {expected}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_relay_that_waits_for_mongodb_says_so_and_stops_at_once(
    nobody: str, redis_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    port = ports.pick("127.0.0.1")
    environment = {"MONGODB_URI": nobody, "REDIS_URL": redis_url}
    with a_relay(tmp_path / "relay.log", environment, "--port", str(port)) as relay:
        await answers(port, "/healthz", 200)
        assert (await answers(port, "/readyz", 503))["waiting_for"] == ["mongodb"]
        relay.signal(number)
        assert await asyncio.to_thread(relay.wait, STOP_SECONDS) == 0
    assert not relay.told("mongodb available again")
    assert not relay.told("Traceback")


async def test_a_variable_that_is_nearly_a_setting_is_named_and_its_value_is_not_shown(tmp_path: Path) -> None:
    with a_relay(tmp_path / "relay.log", {**NOBODY, "RELAY_STREAMS": "s3cr3t"}, "--port", "0") as relay:
        await eventually(lambda: relay.told("variables are not read"), 20)
    [line] = [json.loads(line) for line in relay.text().splitlines() if "variables are not read" in line]
    assert (line["level"], line["names"]) == ("warning", ["RELAY_STREAMS, for OUTBOX_RELAY_STREAMS"])
    assert not relay.told("s3cr3t")


async def test_a_relay_that_backs_off_says_what_it_waits_for_and_stops_at_once(
    nobody: str, redis_url: str, tmp_path: Path
) -> None:
    port = ports.pick("127.0.0.1")
    environment = {"MONGODB_URI": nobody, "REDIS_URL": redis_url}
    with a_relay(tmp_path / "relay.log", environment, "--port", str(port)) as relay:
        await eventually(lambda: relay.told("mongodb unavailable"), 30)
        await answers(port, "/healthz", 200)
        assert (await answers(port, "/readyz", 503))["waiting_for"] == ["mongodb"]
        relay.signal(signal.SIGTERM)
        assert await asyncio.to_thread(relay.wait, STOP_SECONDS) == 0
    assert not relay.told("mongodb available again")


async def test_a_worker_that_waits_for_its_servers_stops_at_once(nobody: str, tmp_path: Path) -> None:
    with silent() as address:
        environment = {"MONGODB_URI": nobody, "REDIS_URL": f"redis://{address}"}
        worker = WorkerProcess(tmp_path / "worker.log", environment, "effect")
        with running(worker):
            await eventually(lambda: worker.told("mongodb unavailable"), 30)
            worker.signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait, 2 * STOP_SECONDS) == 0


async def test_a_process_that_hangs_in_its_stop_leaves_all_the_same(tmp_path: Path) -> None:
    program = (
        "import time; from outbox.cli import signals; signals.SPARE_SECONDS = 0.5;"
        "from outbox_relay.daemon import Relay; Relay.stop = lambda _: time.sleep(3600);"
        "from outbox.cli.program import main; main(['relay', '--port', '0'])"
    )
    relay = Program(tmp_path / "relay.log", NOBODY | {"OUTBOX_RELAY_STOP_SECONDS": "1"}, program)
    with running(relay):
        await eventually(lambda: relay.told("mongodb unavailable"), 30)
        relay.signal(signal.SIGTERM)
        assert await asyncio.to_thread(relay.wait, STOP_SECONDS) == 1
        assert relay.told("not stopped in time")


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("MONGODB_URI", "mongodb://h/?tls=true&tlsCAFile=/nowhere/ca.pem", "tlsCAFile=/nowhere/ca.pem"),
        ("REDIS_URL", "rediss://h?ssl_ca_certs=/nowhere/ca.pem", "ssl_ca_certs=/nowhere/ca.pem"),
    ],
)
@pytest.mark.parametrize(
    "command", mostly((["relay"], ["worker"], ["api"], ["status"], ["init"]), but=(["relay"], ["init"]))
)
async def test_a_file_that_is_missing_is_one_line_and_a_wrong_setting(
    setting: str, value: str, named: str, command: list[str], tmp_path: Path
) -> None:
    options = {
        "relay": ["--port", "0"],
        "api": ["--port", "0"],
        "worker": ["--handler", "tests.worker.handlers:effect"],
    }
    arguments = [*command, *options.get(command[0], [])]
    text = f"from outbox.cli.program import main; main({arguments!r})"
    program = Program(tmp_path / "log", NOBODY | {setting: value}, text)
    with running(program):
        assert await asyncio.to_thread(program.wait) == 2
    assert f"error: {setting}: {named} cannot be read" in program.text()
    assert "Traceback" not in program.text()
