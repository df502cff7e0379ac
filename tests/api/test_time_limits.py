"""Whatever is asked of an API whose MongoDB hangs is answered within the API's own limits."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

from outbox.database import Database
from outbox.embedded import Mongod
from outbox.message.document import State
from outbox.operations import samples
from outbox.operations.samples import Sample
from outbox_api.dashboard import sampler
from tests.api.conftest import Serve
from tests.api.test_outages import fragile, mongodb_uri
from tests.outbox.shelf import Shelf

__all__ = ["fragile", "mongodb_uri"]  # fixtures of this module, too
NOW = "2026-01-01T00:00:00Z"


async def test_a_page_says_soon_that_mongodb_does_not_answer(serve: Serve, db: Database, fragile: Mongod) -> None:
    """However long what acts may take: who opens a page in an outage wants to know that it is one."""
    api = await serve(api_read_seconds=0.5, api_commit_seconds=60)
    (message,) = await Shelf(db).put(State.DEAD)
    pages = [
        "search?q=a", f"messages/{message}", "dead", "replay?stream=file_parsing_queue&state=published",
        f"replays/{'7' * 24}", "audit", "streams/file_parsing_queue",
    ]  # fmt: skip
    fragile.pause()
    try:
        started = time.monotonic()
        answers = await asyncio.gather(*(api.get(f"/dashboard/{page}") for page in pages))
        assert {page: answer.status_code for page, answer in zip(pages, answers, strict=True)} == dict.fromkeys(
            pages, 503
        )
        assert time.monotonic() - started < 8
    finally:
        fragile.resume()


async def test_a_look_for_all_pages_is_not_short_of_time_for_one(
    serve: Serve, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or every page would say that MongoDB does not answer, and an outage would be recorded."""
    take, took = samples.take, list[Sample]()

    async def slowly(*arguments: Any, **options: Any) -> Sample:
        await asyncio.sleep(0.7)
        took.append(await take(*arguments, **options))
        return took[-1]

    monkeypatch.setattr(sampler, "WATCHED_SECONDS", 0.0)  # so that each page looks
    monkeypatch.setattr(samples, "take", slowly)
    api = await serve(api_read_seconds=0.5)
    answer = await api.get("/dashboard")
    assert took
    assert "does not answer" not in answer.text


async def test_what_operators_do_is_waited_for_only_so_long(serve: Serve, db: Database, fragile: Mongod) -> None:
    api = await serve(api_read_seconds=0.5, api_commit_seconds=1)
    (message,) = await Shelf(db).put(State.DEAD)
    job = "7" * 24
    page = (await api.get(f"/dashboard/messages/{message}")).text
    (token, *_) = re.findall(r'name="token" value="([0-9a-f]{64})"', page)
    acts = [
        api.post(f"/outbox/messages/{message}/retry"),
        api.post("/outbox/replay", json={"stream": "file_parsing_queue"}),
        api.post("/outbox/replay", json={"stream": "file_parsing_queue", "dry_run": True}),
        api.post(f"/outbox/replays/{job}/cancel"),
        api.post("/outbox/streams/file_parsing_queue/pause"),
        api.post("/outbox/streams/file_parsing_queue/resume"),
        *(
            api.post(f"/dashboard/{path}", data={"token": token, "stream": "file_parsing_queue", "before": NOW})
            for path in (
                *(f"messages/{message}/{action}" for action in ("retry", "discard", "replay")),
                "replay", f"replays/{job}/cancel",
                "streams/file_parsing_queue/pause", "streams/file_parsing_queue/resume",
            )
        ),
    ]  # fmt: skip
    fragile.pause()
    try:
        started = time.monotonic()
        answers = await asyncio.gather(*acts)
        assert [answer.status_code for answer in answers] == [503] * len(acts)
        assert time.monotonic() - started < 8
    finally:
        fragile.resume()
