"""`upload`: requests a second of `POST /files`, with the outbox and without."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

from outbox.bench.extent import Extent
from outbox.bench.ground import Ground
from outbox.bench.result import Figure, Limit
from outbox.bench.telling import Tell
from outbox.embedded import Process
from outbox.message import schema
from outbox.operations import applications
from outbox.settings import OutboxSettings
from outbox.streams.declaration import FILES, Streams

CLIENTS = 8
ROUNDS = 3
FILE_BYTES = 4096
WITHOUT = "without outbox"
_BOUNDARY = "outbox-bench"
_BODY = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="folderId"\r\n\r\nbench\r\n'
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    f"{'x' * FILE_BYTES}\r\n--{_BOUNDARY}--\r\n"
).encode()
_HEADERS = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


async def measure(ground: Ground, extent: Extent, tell: Tell) -> list[Figure]:
    await ground.clear()
    await schema.ensure(ground.database, Streams([FILES]), applications.files())
    declared = OutboxSettings.model_fields["outbox_streams"].get_default()
    streams = json.dumps([one.model_dump(mode="json") for one in declared])
    with (
        ground.child("outbox", "api", OUTBOX_API_LISTEN="127.0.0.1:0", OUTBOX_STREAMS=streams) as api,
        ground.child("outbox.bench.without", OUTBOX_API_LISTEN="127.0.0.1:0", OUTBOX_STREAMS=streams) as without,
    ):
        ports = [await _port(ground, api), await _port(ground, without)]
        done = [0.0, 0.0]
        for number in range(ROUNDS):
            tell(f"POST /files with and without the outbox, {CLIENTS} clients, {number + 1} of {ROUNDS}")
            for which, port in enumerate(ports):  # by turns, so that whatever else happens hits both alike
                done[which] += await asyncio.to_thread(_requests, port, extent.upload_seconds) / ROUNDS
    return [Figure("upload", f"{CLIENTS} clients", done[0], "requests/s", (Limit(WITHOUT, done[1]),))]


async def _port(ground: Ground, api: Process) -> int:
    """Where it listens, as soon as it answers."""
    while True:
        lines = (json.loads(line) for line in api.output().splitlines() if line.startswith("{"))
        port = next((int(line["port"]) for line in lines if "port" in line), None)
        if port and await asyncio.to_thread(_answers, port):
            return port
        await ground.look_again()


def _answers(port: int) -> bool:
    try:
        return _upload(HTTPConnection("127.0.0.1", port, timeout=5)) == 201
    except OSError:
        return False


def _requests(port: int, seconds: float) -> float:
    until = time.perf_counter() + seconds

    def client(_: int) -> int:
        done, connection = 0, HTTPConnection("127.0.0.1", port, timeout=30)
        while time.perf_counter() < until:
            if (status := _upload(connection)) != 201:
                raise RuntimeError(f"an upload was answered {status}")
            done += 1
        connection.close()
        return done

    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        return sum(clients.map(client, range(CLIENTS))) / (time.perf_counter() - started)


def _upload(connection: HTTPConnection) -> int:
    connection.request("POST", "/files", _BODY, _HEADERS)
    answer = connection.getresponse()
    answer.read()
    return answer.status
