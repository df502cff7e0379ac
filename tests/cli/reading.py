"""All that only reads: each command, each page, each message's story, whatever others have written."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx

from outbox.database import Database
from outbox.settings import OutboxSettings, load
from outbox_api.app import create_app
from outbox_api.settings import ApiSettings
from tests.api.every_route import ROUTES
from tests.api.serving import PATIENT
from tests.cli.conftest import Cli

COMMANDS = [
    ["status"], ["verify"], ["doctor"], ["migrate", "--dry-run"], ["dead", "list"], ["audit"], ["jobs", "list"],
    ["streams", "list"], ["replay", "--since", "1h", "--dry-run", "--yes"],
]  # fmt: skip
PAGES = [
    *(path for method, path in ROUTES if method == "GET" and "{" not in path),
    "/outbox/messages?limit=500", "/dashboard/search?state=dead", "/dashboard/search?q=f",
]  # fmt: skip


async def everything_can_be_read(database: Database, settings: OutboxSettings, outbox: Cli) -> None:
    """All that goes wrong is shown together."""
    faults: list[str] = []
    for command in COMMANDS:
        for form in ([], ["--json"]):
            with _watched(faults, *command, *form):
                result = await asyncio.to_thread(outbox, *command, *form)
                assert result.code == 0 or (result.code == 1 and command[0] in ("verify", "doctor")), result.err
                assert (result.out + result.err).replace("\n", "").isprintable(), ascii(result.out)
                if form:
                    json.dumps(result.json, ensure_ascii=False).encode()
    async with an_api(settings) as api:
        messages: Any = database.outbox.find({"_id": {"$type": "objectId"}}, {"_id": 1})
        stories = [f"/{where}/messages/{m['_id']}" async for m in messages for where in ("outbox", "dashboard")]
        for path in PAGES + stories:
            with _watched(faults, path):
                answer = await api.get(path)
                assert answer.status_code in (200, 307, 404), answer.text[:300]
    assert not faults, "\n".join(faults)


@contextmanager
def _watched(faults: list[str], *what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001
        where = [f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
        faults.append(f"{' '.join(what)}: {error!r} in {[w for w in where if 'site-packages' not in w][-3:]}")


@asynccontextmanager
async def an_api(settings: OutboxSettings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(load(ApiSettings, **PATIENT), settings)
    async with app.router.lifespan_context(app) as shared:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(shared or {})
            await app(scope, receive, send)

        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", timeout=60) as api:
            yield api
