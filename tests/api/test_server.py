"""What can only be seen from outside: memory, connections, start and stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from outbox.database import Database
from outbox.embedded import Mongod
from outbox.settings import OutboxSettings
from outbox_api.uploads import records as files
from tests.api.callers import ALICE, ALICES, bearer
from tests.api.serving import Api
from tests.processes import is_alive
from tests.waiting import eventually, eventually_sync

MEGABYTE = 1024 * 1024
HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="folderId"\r\n\r\ninvoices\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="large"\r\n\r\n'
)
TAIL = b"\r\n--b--\r\n"
AS_FORM = {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.fixture
def api(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> Iterator[Api]:
    with Api(
        tmp_path, outbox_settings, OUTBOX_API_MAX_UPLOAD_BYTES=str(350 * MEGABYTE), OUTBOX_API_STOP_SECONDS="2"
    ) as api:
        yield api


async def form(megabytes: int) -> AsyncIterator[bytes]:
    yield HEAD
    block = bytes(MEGABYTE)
    for _ in range(megabytes):
        yield block
    yield TAIL


async def test_a_large_file_passes_through_in_flat_memory(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url, timeout=60) as client:
        await client.get("/files")
        before, peak = api.memory(), 0

        async def watched() -> AsyncIterator[bytes]:
            nonlocal peak
            async for block in form(300):
                peak = max(peak, api.memory())
                yield block

        answer = await client.post("/files", content=watched(), headers=AS_FORM)
        assert answer.status_code == 201
        assert answer.json()["files"][0]["size"] == 300 * MEGABYTE

        seen = 0
        async with client.stream("GET", f"/files/{answer.json()['id']}/content") as content:
            async for piece in content.aiter_bytes():
                seen += len(piece)
                peak = max(peak, api.memory())
        assert seen == 300 * MEGABYTE
    assert peak < 200 * MEGABYTE
    assert peak - before < 40 * MEGABYTE


async def test_a_client_that_leaves_half_way_leaves_nothing(api: Api, db: Database) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(b"POST /files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000000\r\n")
    writer.write(b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + HEAD + bytes(3 * MEGABYTE))
    await writer.drain()
    await eventually(lambda: db["fs.chunks"].find_one({}))
    assert await db.files.count_documents({"parsing": "uploading"}) == 1
    writer.close()
    await writer.wait_closed()

    async def nothing_left() -> bool:
        return not any([await db[name].count_documents({}) for name in ("files", "fs.files", "fs.chunks", "outbox")])

    await eventually(nothing_left)
    assert "Traceback" not in api.output()


async def test_what_a_killed_api_leaves_is_removed_later(api: Api, db: Database, mongod: Mongod) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(b"POST /files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000000\r\n")
    writer.write(b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + HEAD + bytes(3 * MEGABYTE))
    await eventually(lambda: db["fs.chunks"].find_one({}))
    clients = {f"{one.laddr.ip}:{one.laddr.port}" for one in psutil.Process(api.pid).net_connections("tcp")}
    api.kill()
    writer.close()
    await eventually(lambda: have_left(mongod, clients), what="MongoDB has done what was on its way to it")
    assert await files.remove_abandoned(db, older_than=timedelta(hours=1)) == 0
    assert await files.remove_abandoned(db, older_than=timedelta(seconds=-1)) == 1
    assert not any([await db[name].count_documents({}) for name in ("files", "fs.files", "fs.chunks", "outbox")])


def have_left(mongod: Mongod, clients: set[str]) -> bool:
    every: dict[str, Any] = {"$currentOp": {"allUsers": True, "idleConnections": True}}
    with mongod.client() as client, client.admin.aggregate([every]) as found:
        return clients.isdisjoint(one.get("client") for one in found)


@pytest.mark.parametrize("tells", [True, False])
async def test_who_sends_too_much_gets_an_answer_and_is_cut_off(tells: bool, api: Api) -> None:
    length = {"Content-Length": str(len(HEAD) + 400 * MEGABYTE + len(TAIL))}
    async with httpx.AsyncClient(base_url=api.url, timeout=60) as client:
        answer = await client.post("/files", content=form(400), headers={**AS_FORM, **(length if tells else {})})
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:outbox:body-too-large"


async def test_a_stop_lets_uploads_finish(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> None:
    # Time enough to stop on a busy machine: the upload is cut off when it is over.
    with Api(tmp_path, outbox_settings, OUTBOX_API_STOP_SECONDS="60") as api:

        async def while_stopping() -> AsyncIterator[bytes]:
            yield HEAD + b"contents"
            await eventually(lambda: db.files.find_one({}), what="the API has begun with the upload")
            stopping = asyncio.create_task(asyncio.to_thread(api.stop, 60))
            await eventually(lambda: not _accepts(api.port))
            yield TAIL
            stopped.append(stopping)

        stopped: list[asyncio.Task[int]] = []
        async with httpx.AsyncClient(base_url=api.url, timeout=60) as client:
            answer = await client.post("/files", content=while_stopping(), headers=AS_FORM)
        assert answer.status_code == 201
        assert await stopped[0] == 0


async def test_a_stop_does_not_wait_for_ever(api: Api, db: Database) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(b"POST /files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000000\r\n")
    writer.write(b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + HEAD + b"contents")
    await eventually(lambda: db.files.find_one({}))
    assert await asyncio.to_thread(api.stop, 30) == 0  # the body may pause for 60
    writer.close()
    assert await db.outbox.count_documents({}) == 0


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_taken_port_is_said_so(api: Api) -> None:
    ended = _run("--port", str(api.port), env=dict(api.env or {}))
    assert ended.returncode == 2
    assert f"127.0.0.1:{api.port} cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_database_that_is_not_set_up_is_said_so(not_set_up: OutboxSettings, tmp_path: Path) -> None:
    ended = _run("--port", "0", env=dict(Api(tmp_path, not_set_up).env or {}))
    assert ended.returncode == 1
    assert "outbox init" in ended.stderr
    assert "Traceback" not in ended.stderr


def _run(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "outbox", "api", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> None:
    with Api(tmp_path, outbox_settings, "--workers", "2", OUTBOX_LOG_FORMAT="json") as api:
        children = psutil.Process(api.pid).children(recursive=True)
        assert len(children) >= 2
        api.kill()
        eventually_sync(lambda: not any(is_alive(child) for child in children), 20, what="no orphan serves on")


def test_workers_share_the_port(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> None:
    with Api(tmp_path, outbox_settings, "--workers", "2", OUTBOX_LOG_FORMAT="json") as api:
        upload = {"files": {"file": ("a.txt", b"a")}, "data": {"folderId": "invoices"}}
        for _ in range(8):
            assert httpx.post(f"{api.url}/files", **upload, timeout=60).status_code == 201  # type: ignore[arg-type]
        assert api.stop() == 0
        lines = [json.loads(line) for line in api.output().splitlines()]
    assert sum(line["event"] == "files queued" for line in lines) == 8


def test_metrics_are_those_of_all_processes(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> None:
    with Api(tmp_path, outbox_settings, "--workers", "2") as api:
        for _ in range(40):
            assert httpx.get(f"{api.url}/queue", timeout=60).status_code == 200
        counted = 'api_requests_total{method="GET",route="/queue",status="200"} 40.0'
        # A process counts when it has answered, which may be a moment after the answer has come.
        eventually_sync(lambda: counted in httpx.get(f"{api.url}/metrics", timeout=60).text)
        for _ in range(10):  # each on a new connection, and so at any of the two
            assert counted in httpx.get(f"{api.url}/metrics", timeout=60).text
        # what a process has counted stays when it ends
        workers = [
            child.pid for child in psutil.Process(api.pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]
        os.kill(workers[0], signal.SIGKILL)
        eventually_sync(lambda: not psutil.pid_exists(workers[0]), 20)
        eventually_sync(lambda: counted in httpx.get(f"{api.url}/metrics", timeout=60).text, 20)


def test_keys_can_come_through_a_pipe(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> None:
    """Which can be read once."""
    os.mkfifo(pipe := tmp_path / "pipe")
    with ThreadPoolExecutor(1) as writer:
        writer.submit(pipe.write_text, f"{ALICES.line}\n")
        with Api(tmp_path, outbox_settings, OUTBOX_API_KEYS_FILE=str(pipe)) as api:
            assert httpx.get(f"{api.url}/files", timeout=60).status_code == 401
            assert httpx.get(f"{api.url}/files", headers=bearer(ALICE), timeout=60).status_code == 200


@pytest.mark.parametrize(("workers", "host"), [("1", "::1"), ("2", "[::1]")])
def test_an_ipv6_address_is_listened_on(
    host: str, workers: str, tmp_path: Path, outbox_settings: OutboxSettings, db: Database
) -> None:
    api = Api(tmp_path, outbox_settings, "--host", host, "--workers", workers)
    api.url = f"http://[::1]:{api.port}"
    with api:
        assert httpx.get(f"{api.url}/files", timeout=60).status_code == 200
