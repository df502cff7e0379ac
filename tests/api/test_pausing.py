"""Streams are paused and resumed over HTTP, and readiness and figures say so."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from outbox.database import STREAMS, Database
from outbox.streams.declaration import FILE_STREAM
from tests.api.callers import ALICE, ALICES, bearer
from tests.api.conftest import Serve

PAUSE, RESUME = (f"/outbox/streams/{FILE_STREAM}/{action}" for action in ("pause", "resume"))


@pytest.fixture
async def api(db: Database, serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    yield await serve(api_keys=ALICES.line)
    await db[STREAMS].update_many({}, {"$unset": {"paused": "", "resumed_at": ""}})


async def test_pause_and_resume(api: httpx.AsyncClient) -> None:
    headers = bearer(ALICE)
    answer = await api.post(PAUSE, json={"reason": "the parser is broken"}, headers=headers)
    assert answer.status_code == 200
    (paused,) = answer.json()["paused"]
    assert (paused["stream"], paused["who"], paused["reason"]) == (FILE_STREAM, "alice", "the parser is broken")
    assert (await api.post(PAUSE, headers=headers)).json() == answer.json(), "it stays as it is"
    assert (await api.get("/outbox/streams/paused", headers=headers)).json() == answer.json()
    assert (await api.get("/outbox/stats", headers=headers)).json()["paused"] == [paused]
    ready = await api.get("/health/ready")
    assert ready.status_code == 200
    (warning,) = [text for text in ready.json()["warnings"] if "paused" in text]
    assert warning == f"stream '{FILE_STREAM}' is paused", "who and why is for those with a key"
    uploaded = await api.post("/files", files={"file": ("a", b"1")}, data={"folderId": "f"}, headers=headers)
    assert uploaded.status_code == 201
    assert (await api.post(RESUME, headers=headers)).json() == {"paused": []}
    records = (await api.get("/outbox/audit", headers=headers)).json()["records"]
    assert [(one["action"], one["who"]) for one in records] == [("resume-stream", "alice"), ("pause-stream", "alice")]


@pytest.mark.parametrize("path", [PAUSE, RESUME])
async def test_an_unknown_stream(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.post(path.replace(FILE_STREAM, "file_parsing/queue"), headers=bearer(ALICE))
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:outbox:no-such-stream"
    assert FILE_STREAM in answer.json()["detail"]


async def test_a_reason_that_is_too_long(api: httpx.AsyncClient) -> None:
    answer = await api.post(PAUSE, json={"reason": "x" * 501}, headers=bearer(ALICE))
    assert answer.status_code == 422
    assert (await api.get("/outbox/streams/paused", headers=bearer(ALICE))).json() == {"paused": []}
