"""What it costs to have the dashboard open in ten tabs while uploads come as fast as this machine takes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from outbox.database import Database
from outbox.embedded import Mongod
from outbox.settings import OutboxSettings
from tests.api.serving import Api
from tests.waiting import eventually

RATE = 500
"""Uploads a second that are asked for; the machine may take fewer."""

SECONDS = 15
CLIENTS = 32
FILES = 10
"""In a request, where it is said to have several."""


@dataclass(frozen=True)
class Cost:
    """Uploads a second, and CPU milliseconds of the API and of mongod for each."""

    rate: float
    api: float
    mongod: float


@asynccontextmanager
async def tabs(url: str, count: int) -> AsyncIterator[None]:
    async def watch() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=None) as client:
            async with client.stream("GET", "/dashboard/events") as stream:
                async for _ in stream.aiter_raw():
                    pass

    watching = [asyncio.create_task(watch()) for _ in range(count)]
    try:
        yield
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)


async def measure(api: Api, mongod: Mongod, count: int, *, files: int = 1) -> Cost:
    """With `count` tabs, and so many files in a request: each is an upload, with a record and a message of its own."""
    form = [("file", ("a.txt", b"some text " * 20))] * files
    # Made once: who asks shares the machine with what is measured.
    request = httpx.Request("POST", api.url, files=form, data={"folderId": "load"})
    body, headers = request.read(), {"Content-Type": request.headers["Content-Type"]}
    done = 0
    began = time.monotonic()

    def due() -> bool:
        return done < (time.monotonic() - began) * RATE

    async def upload(client: httpx.AsyncClient) -> None:
        nonlocal done
        while time.monotonic() - began < SECONDS:
            await eventually(due, every=0.002)
            done += files
            answer = await client.post("/files", content=body, headers=headers)
            assert answer.status_code == 201

    async with tabs(api.url, count), httpx.AsyncClient(base_url=api.url, timeout=60) as client:
        processes = [psutil.Process(api.pid), psutil.Process(mongod.pid)]
        before = [sum(process.cpu_times()[:2]) for process in processes]
        await asyncio.gather(*(upload(client) for _ in range(CLIENTS)))
        seconds = time.monotonic() - began
        api_cpu, mongod_cpu = (sum(p.cpu_times()[:2]) - b for p, b in zip(processes, before, strict=True))
    return Cost(done / seconds, 1000 * api_cpu / done, 1000 * mongod_cpu / done)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("files", [1, FILES])
async def test_ten_tabs_cost_little_under_load(
    files: int, tmp_path: Path, outbox_settings: OutboxSettings, db: Database, mongod: Mongod
) -> None:
    with Api(tmp_path, outbox_settings) as api:
        await measure(api, mongod, 0)  # what is slow the first time
        without = await measure(api, mongod, 0, files=files)
        ten = await measure(api, mongod, 10, files=files)
        again = await measure(api, mongod, 0, files=files)
    for name, cost in (("no tab", without), ("ten tabs", ten), ("no tab", again)):
        print(
            f"{files} a request, {name:9} {cost.rate:6.0f}/s"
            f"   API {cost.api:5.2f} ms CPU/upload   mongod {cost.mongod:5.2f} ms CPU/upload"
        )
    assert ten.api < 1.5 * max(without.api, again.api)
    assert ten.mongod < 1.5 * max(without.mongod, again.mongod)
