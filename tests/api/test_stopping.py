"""Requests that are under way when the time to stop is over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from outbox.database import Database
from outbox.settings import OutboxSettings
from outbox_api.stopping import Stopping
from tests.api.connecting import FORM, Raw, upload
from tests.api.serving import Api
from tests.waiting import eventually

MEGABYTES_30 = bytes(30 * 1024**2)
REQUEST: dict[str, Any] = {"type": "http", "method": "POST", "path": "/files", "query_string": b"", "headers": []}


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_who_waits_is_told_that_the_outcome_is_not_known(
    workers: str, tmp_path: Path, outbox_settings: OutboxSettings, db: Database
) -> None:
    with Api(tmp_path, outbox_settings, "--workers", workers, OUTBOX_API_STOP_SECONDS="1") as api:
        large = {"file": ("a.bin", MEGABYTES_30)}
        stored = httpx.post(f"{api.url}/files", files=large, data={"folderId": "f"}, timeout=60).json()["id"]
        with Raw(api.port) as waits, Raw(api.port) as reads_nothing:
            reads_nothing.send(f"GET /files/{stored}/content HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            await asyncio.to_thread(reads_nothing.wait)
            waits.send(upload("Idempotency-Key: one") + FORM[:-9])
            await eventually(lambda: db.files.find_one({"parsing": "uploading"}), what="the upload has begun")
            assert await asyncio.to_thread(api.stop, 20) == 0
            answer = waits.answer()
        assert (answer.status, answer.json["title"]) == (503, "Outcome unknown")
        assert "Idempotency-Key" in answer.json["detail"]
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"]
        assert answer.headers["x-frame-options"] == "DENY", "it has what every answer has"
        output = api.output()
        assert "Traceback" not in output
        assert output.count("request refused") == 1, "who waits is told, and the log as well"
        assert output.count("without completing response") == 1, "of the other one, whose answer is not complete"


async def cut_off(app: Any, send: Send) -> None:
    """What `app` begins, cancelled as the server does it."""

    async def nothing_comes() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.ensure_future(Stopping(app)(dict(REQUEST), nothing_comes, send))
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(10):
        await task


async def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    sent: list[Message] = []

    async def begins(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    async def send(message: Message) -> None:
        sent.append(message)

    await cut_off(begins, send)
    assert [(message["type"], message["status"]) for message in sent] == [("http.response.start", 200)]


async def test_a_client_that_does_not_read_does_not_hold_the_stop_up() -> None:
    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async def takes_nothing(_: Message) -> None:
        await asyncio.Event().wait()

    await cut_off(waits, takes_nothing)
