"""The dashboard's stream of events: its cost, its end, and a defect behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from outbox.database import Database
from outbox.operations import samples
from outbox.settings import OutboxSettings
from tests.api.conftest import Serve
from tests.api.serving import Api
from tests.waiting import eventually


async def events(api: httpx.AsyncClient, seconds: float = 60) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    name = ""
    async with asyncio.timeout(seconds), api.stream("GET", "/dashboard/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        async for line in stream.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


async def test_ten_tabs_cost_as_much_as_one(
    tmp_path: Path, outbox_settings: OutboxSettings, db: Database, mongo: Any
) -> None:
    """What is asked of MongoDB from one look to the next, with one tab open and with ten."""

    async def asked() -> int:
        status = await mongo.admin.command("serverStatus")
        return int(status["opcounters"]["command"] + status["opcounters"]["query"])

    async def watch(client: httpx.AsyncClient, seen: list[int], tab: int) -> None:
        async for _ in events(client, 60):
            seen[tab] += 1

    async def cost(client: httpx.AsyncClient, tabs: int) -> float:
        seen = [0] * tabs
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(watch(client, seen, tab)) for tab in range(tabs)]

            async def all_have(events: int) -> bool:
                return min(seen) >= events

            await eventually(partial(all_have, 2), 15)
            before, looks = await asked(), max(seen)
            await eventually(partial(all_have, 6), 20)
            # Not in a second: a machine that is busy with others looks less often in it.
            spent = (await asked() - before) / (max(seen) - looks)
            for task in watching:
                task.cancel()
        return spent

    with Api(tmp_path, outbox_settings) as api:
        async with httpx.AsyncClient(base_url=api.url, timeout=60) as client:
            one, ten = await cost(client, 1), await cost(client, 10)
    assert ten < 1.6 * one


async def test_open_tabs_do_not_hold_up_a_stop(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> None:
    with Api(tmp_path, outbox_settings, OUTBOX_API_STOP_SECONDS="100") as api:
        async with httpx.AsyncClient(base_url=api.url, timeout=60) as client:
            stream = events(client)
            assert (await anext(stream))[0] == "start"
            assert await asyncio.to_thread(api.stop, 40) == 0, "it was killed before its time to stop was over"
            await stream.aclose()  # type: ignore[attr-defined]


async def test_a_defect_in_looking_ends_neither_the_sampler_nor_the_api(
    tmp_path: Path, db: Database, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(samples, "take", broken)
        api = await serve()
        assert (await api.get("/health/live")).status_code == 200
        assert (await api.get("/dashboard")).status_code == 500
    assert "All is well" in (await api.get("/dashboard")).text or "No relay" in (await api.get("/dashboard")).text
