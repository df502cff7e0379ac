"""The dashboard in a browser, with everything real behind it: API, relay, MongoDB, Redis."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from bson import ObjectId
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect, sync_playwright
from pymongo.database import Database
from redis.exceptions import ResponseError

from outbox.embedded import Mongod, RedisServer
from outbox.message import schema
from outbox.message.document import State
from outbox.servers.connections import connect_mongo, open_database
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILES
from outbox.web import keys
from outbox.web.keys import Scope
from outbox_api.collections import FILES_APPLICATION
from tests.api.serving import Api
from tests.outbox.shelf import a_document
from tests.relay.processes import a_relay
from tests.waiting import eventually_sync

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REQUIRED = os.environ.get("TESTS_SKIP_NOTHING") == "1"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]

RECORDED = (schema.HISTORY, schema.OUTAGES, schema.WORKERS)

expect.set_options(timeout=20_000)  # a look takes a quarter of the time at most, on a machine that is busy otherwise

SECRET, KEY = keys.make("alice", [Scope.READ, Scope.OPERATE])
READER, READERS_KEY = keys.make("bob", [Scope.READ])


@dataclass
class System:
    """What runs behind the dashboard, and hands to plant things in it."""

    url: str
    db: Database[dict[str, Any]]
    redis: RedisServer

    def file(self, name: str, parsing: str = "queued", folder: str = "demo", **values: Any) -> ObjectId:
        now = datetime.now(UTC)
        id_ = ObjectId()
        record = {
            "_id": id_, "filename": name, "folder_id": folder, "parsing": parsing, "version": 1, "size": 5,
            "created_at": now, "updated_at": now, **values,
        }  # fmt: skip
        self.db.files.insert_one(record)
        return id_

    def message(self, state: State, key: ObjectId | str | None = None, **values: Any) -> ObjectId:
        if state is State.PUBLISHED:
            # It has no entry: one published long ago would be rescued in the middle of the test.
            values.setdefault("published_at", ago(0))
        document = a_document(state, **({"key": str(key)} if key else {}), **values)
        self.db.outbox.insert_one(document)
        if isinstance(key, ObjectId):
            self.db.files.update_one({"_id": key}, {"$set": {"message_id": document["_id"]}})
        return ObjectId(document["_id"])

    def record_a_day(self) -> None:
        """As a relay has recorded it, with half an hour without Redis."""
        for minutes in range(30, 24 * 60, 10):
            at, away = ago(minutes / 60), 150 <= minutes <= 180
            minute = {
                "_id": at, "at": at, "appended": 60, "added": None if away else 60 * (24 * 60 - minutes),
                "pending": 900 if away else 0, "scheduled": 0, "dead": 0, "oldest": 0.0, "median": 0.01, "longest": 0.1,
            }  # fmt: skip
            self.db.outbox_history.insert_one(minute)

    def worker(self, name: str, message: ObjectId, seconds: float) -> None:
        """One that has held a message for so long, as it records that."""
        now = datetime.now(UTC)
        held = {
            "stream": FILES.name, "entry": "1-1", "message": message, "attempt": 1, "limit_seconds": 3600,
            "since": now - timedelta(seconds=seconds),
        }  # fmt: skip
        self.db.outbox_workers.insert_one(
            {
                "_id": name, "host": "here", "pid": 7, "streams": [FILES.name], "concurrency": 4, "every_seconds": 600,
                "started_at": now, "seen_at": now, "in_flight": 1, "holds": [held],
            }
        )  # fmt: skip

    def state(self, message: ObjectId) -> str:
        found = self.db.outbox.find_one({"_id": message}, {"state": 1})
        return str(found["state"]) if found else "gone"

    def empty(self) -> None:
        for collection in ("outbox", "files", schema.JOBS, schema.AUDIT, schema.RECOVERIES, *RECORDED):
            self.db[collection].delete_many({})
        with self.redis.client() as redis, suppress(ResponseError):  # as if workers had taken all of it
            redis.xgroup_setid(FILES.name, FILES.group, "$")


@pytest.fixture(scope="package")
def system(mongod: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An API with keys and a relay, on a Redis of their own, which may be killed."""
    folder = tmp_path_factory.mktemp("browser")
    mongod.start()
    database = f"test_{uuid4().hex[:12]}"
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder / "redis"))
        settings = load(OutboxSettings, mongodb_uri=mongod.uri, redis_url=redis.url, mongodb_database=database)
        asyncio.run(_set_up(settings))
        environment = {"MONGODB_URI": mongod.uri, "MONGODB_DATABASE": database, "REDIS_URL": redis.url}
        relay = stack.enter_context(a_relay(folder / "relay.log", environment))
        api = stack.enter_context(Api(folder, settings, OUTBOX_API_KEYS=f"{KEY.line} {READERS_KEY.line}"))
        client = stack.enter_context(mongod.client())
        relay.started()
        # A partition that is new to Redis is taken for lost, with whatever a test has written as published before that.
        opened = {"batch": {"$gte": 1}}
        eventually_sync(lambda: client[database].outbox_partitions.count_documents(opened) == FILES.partitions, 20)
        yield System(api.url, client[database], redis)
        client.drop_database(database)


async def _set_up(settings: OutboxSettings) -> None:
    async with connect_mongo(settings) as client:
        await schema.ensure(open_database(client, settings.mongodb_database), settings.streams, FILES_APPLICATION)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if REQUIRED:
            pytest.fail("TESTS_SKIP_NOTHING=1, and there is no chromium: apt-get install chromium")
        pytest.skip("there is no chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@dataclass
class Watched:
    """What a page did that it should not have done."""

    strayed: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


Visit = Callable[..., Page]


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def visit(system: System, browser: Browser, watched: Watched) -> Iterator[Visit]:
    """Opens a page of the dashboard, logged in; at the end, none has left the server or complained in the console."""
    contexts: list[BrowserContext] = []
    system.redis.start()

    def agree(dialog: Dialog) -> None:
        watched.dialogs.append(dialog.message)
        dialog.accept()

    def open_(path: str = "/dashboard", *, secret: str = SECRET, **options: Any) -> Page:
        context = browser.new_context(base_url=system.url, reduced_motion="reduce", **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        context.on("request", lambda r: watched.strayed.append(r.url) if not r.url.startswith(system.url) else None)
        page = context.new_page()
        page.on("console", lambda m: watched.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.on("dialog", agree)
        page.goto(path)
        page.get_by_label("Your key").fill(secret)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"**{path}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert [url for url in watched.strayed if not url.startswith("data:")] == []
    assert watched.complaints == []


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit()


HOURS = timedelta(hours=1)


def ago(hours: float) -> datetime:
    return datetime.now(UTC) - hours * HOURS


@pytest.fixture(autouse=True)
def clean(system: System) -> None:
    system.redis.start()
    system.empty()
