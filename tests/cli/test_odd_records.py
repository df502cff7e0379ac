"""Whatever others write into a collection of ours that is not for messages, everything goes on and can be read."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from bson import Binary, Int64, MaxKey, ObjectId, decode
from bson.datetime_ms import DatetimeMS
from pymongo import AsyncMongoClient
from pymongo.errors import BulkWriteError
from structlog.testing import capture_logs

from outbox import Outbox
from outbox.database import (
    AUDIT,
    HISTORY,
    IDEMPOTENCY,
    JOBS,
    LENIENT,
    LOGOUTS,
    META,
    OUTAGES,
    PARTITIONS,
    RECOVERIES,
    REFUSALS,
    RELAYS,
    STREAMS,
    UNIQUE,
    WORKERS,
    Database,
    Document,
)
from outbox.operations import downtime, jobs, recoveries
from outbox.operations.selection import Selection
from outbox.servers.clock import server_time
from outbox.settings import OutboxSettings, load
from outbox.web import refusals
from outbox_relay.daemon import Relay
from outbox_relay.settings import RelaySettings
from tests.adverse import broken
from tests.cli.conftest import Cli
from tests.cli.reading import an_api, everything_can_be_read
from tests.waiting import eventually

NAME, GROUP = "file_parsing_queue", "file_parsers"
ODD: list[Any] = [
    None, "text", "QQQQ", -1, 0.5, float("nan"), Int64(2**62), [1], [{"a": 1}], {"a": 1}, True, MaxKey(),
    Binary(b"\xff"), DatetimeMS(2**62), DatetimeMS(-(2**63)), [DatetimeMS(2**62)],
]  # fmt: skip

SOME = int(os.environ.get("ODD_VALUES", 2))
"""Of these, for each field. `ODD_VALUES=16 pytest tests/cli/test_odd_records.py` tries all, and takes minutes."""


def records(now: datetime) -> dict[str, Document]:
    """One of each collection as this version writes it."""
    later = now + timedelta(hours=1)
    return {
        META: {"_id": "other", "identity": "0" * 32, "schema": 2, "collections": []},
        PARTITIONS: {
            "stream": NAME, "number": 0, "owner": "relay", "token": 1, "expires_at": later, "batch": 0, "tag": "",
        },
        RELAYS: {
            "_id": "relay", "streams": [NAME], "revisions": [{"stream": NAME, "revision": 1}], "expires_at": later,
            "host": "h", "pid": 1, "version": "1", "started_at": now,
        },
        WORKERS: {
            "host": "h", "pid": 1, "streams": [NAME], "concurrency": 1, "every_seconds": 5.0, "started_at": now,
            "seen_at": later, "in_flight": 1,
            "holds": [{"stream": NAME, "entry": "1-1", "message": ObjectId(), "attempt": 1, "since": now,
                       "limit_seconds": 0.0}],
        },
        OUTAGES: {"server": "redis", "since": now, "until": later, "waited": 1},
        HISTORY: {
            "at": now, "appended": 1, "added": 1, "pending": 0, "scheduled": 0, "dead": 0, "oldest": 0.0,
            "median": 0.1, "longest": 0.1, "undelivered": 0, "unacknowledged": 0,
        },
        RECOVERIES: {
            "at": now, "stream": NAME, "number": 0, "owner": "relay", "verdict": "lost", "recovered": 1,
            "settled": 0, "kept": 0,
        },
        JOBS: {
            "who": "anna", "selection": {"stream": NAME, "states": ["completed"]}, "before": now, "rate": 100.0,
            "selected": 1, "id_count": None, "replayed": 0, "matched": 0, "phase": "waiting", "open": True,
            "last": None, "owner": None, "created_at": now, "request": "anna/1",
        },
        AUDIT: {"at": now, "who": "anna", "action": "retry", "count": 1, "details": {}},
        UNIQUE: {"message": ObjectId(), "until": now, "appends": 1, "at": now},
        LOGOUTS: {"until": later},
        REFUSALS: {"count": 1, "until": later},
        IDEMPOTENCY: {"fingerprint": "f", "answer": {}, "created_at": now},
    }  # fmt: skip


def odd_ones(record: Document, **kept: Any) -> Iterator[Any]:
    """Copies of a record, in each of which one value is missing, or is what it never is: some of all such values."""
    chance = random.Random(str(record.keys()))
    for name in ("_id", *record):
        if name != "_id":
            yield broken({other: record[other] for other in record if other != name} | {"_id": ObjectId(), **kept})
        for value in chance.sample(ODD, SOME):
            if name != "_id" or not isinstance(value, list):
                yield broken({**record, "_id": ObjectId(), name: value, **kept})
    selection = record.get("selection", {})
    for name in ("since", "until", "stream", "key", "states", "ids", "file", "later"):
        for value in chance.sample(ODD, SOME) if selection else ():
            yield broken({**record, "_id": ObjectId(), "selection": {**selection, name: value}})


@pytest.fixture
def settings(bare: Cli, monkeypatch: pytest.MonkeyPatch) -> OutboxSettings:
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([{"name": NAME, "group": GROUP, "partitions": 2}]))
    assert bare("init", "--files").code == 0
    return load(OutboxSettings)


@pytest.fixture
async def odd(mongo: AsyncMongoClient[Document], database: str, settings: OutboxSettings) -> Database:
    """The database with all of them."""
    found = Database(mongo, database, LENIENT)
    for name, record in records(await server_time(found)).items():
        collection: Any = found[name]
        with suppress(BulkWriteError):  # of a name that must be unique, one is enough
            await collection.insert_many(odd_ones(record), ordered=False, bypass_document_validation=True)
    return found


async def append(database: Database, settings: OutboxSettings, unique: str | None = None) -> ObjectId:
    outbox = Outbox(settings.streams, database=database.name)
    async with database.client.start_session() as session, await session.start_transaction():
        return await outbox.append(session, NAME, {"order": "1"}, key="1", unique=unique)


async def test_everything_goes_on_and_can_be_read(odd: Database, settings: OutboxSettings, bare: Cli) -> None:
    first = await append(odd, settings)
    relay = Relay(load(RelaySettings), settings, listen=socket.create_server(("127.0.0.1", 0)))
    with capture_logs() as logs:  # or they would stand between what commands write
        working = asyncio.create_task(relay.run())

        async def published(message: ObjectId) -> bool:
            assert not working.done(), working.exception()
            return await odd.outbox.count_documents({"_id": message, "state": "published"}) == 1

        await eventually(lambda: published(first), 20, every=0.2)
        job = await jobs.create(odd, Selection(stream=NAME), who="anna", rate=100)

        async def replayed() -> bool:
            assert not working.done(), working.exception()
            return (await jobs.find(odd, job.id)).phase is jobs.Phase.DONE

        await eventually(replayed, 20, every=0.2)
        await everything_can_be_read(odd, settings, bare)
        relay.stop()
        await working
    failed = [line for line in logs if line["log_level"] in ("error", "critical")]
    assert not failed
    json.dumps(logs, ensure_ascii=False, default=str).encode()


async def test_what_is_right_is_shown_beside_it(odd: Database) -> None:
    now = await server_time(odd)
    right = records(now)
    await odd[RECOVERIES].insert_one({**right[RECOVERIES], "at": MaxKey()})
    await odd[OUTAGES].insert_one({**right[OUTAGES], "until": DatetimeMS(2**62)})
    await odd[RECOVERIES].insert_one({**right[RECOVERIES], "at": now + timedelta(seconds=1)})
    await odd[OUTAGES].insert_one({**right[OUTAGES], "until": now + timedelta(hours=2)})
    assert (await recoveries.latest(odd, 1))[0].at == now + timedelta(seconds=1)
    assert (await downtime.latest(odd, 1))[0].until == now + timedelta(hours=2)


async def test_what_stands_for_a_unique_value_keeps_no_message_back(
    settings: OutboxSettings, mongo: AsyncMongoClient[Document], database: str
) -> None:
    db = Database(mongo, database, LENIENT)
    values: Any = db[UNIQUE]
    record = records(await server_time(db))[UNIQUE]
    for number, one in enumerate([broken({**record, "message": {"a": 1}}), *odd_ones(record)]):
        name = {"stream": NAME, "unique": str(number)}
        await values.insert_one({**decode(one.raw, codec_options=LENIENT), "_id": name})
        message = await append(db, settings, unique=str(number))
        assert await db.outbox.count_documents({"_id": message}) == 1, one
        assert (await values.find_one({"_id": name}))["message"] == message


async def test_refusals_are_counted_from_the_first_that_can_be_read(
    settings: OutboxSettings, mongo: AsyncMongoClient[Document], database: str
) -> None:
    db = Database(mongo, database, LENIENT)
    kept: Any = db[REFUSALS]
    for number, one in enumerate(odd_ones(records(await server_time(db))[REFUSALS])):
        await kept.insert_one({**decode(one.raw, codec_options=LENIENT), "_id": f"key {number}"})
        counted = [await refusals.count(db, "key", str(number)) for _ in range(2)]
        assert counted[1] == counted[0] + 1, one


@pytest.mark.parametrize("name", [STREAMS, META])
async def test_what_nothing_works_without_is_named(
    name: str, settings: OutboxSettings, mongo: AsyncMongoClient[Document], database: str, bare: Cli
) -> None:
    collection: Any = Database(mongo, database, LENIENT)[name]
    record = await collection.find_one()
    async with an_api(settings) as api:
        for one in islice(odd_ones(record, _id=record["_id"]), 0, None, 11):
            await collection.delete_many({})
            await collection.insert_one(one)
            for command in (["status"], ["init", "--dry-run"]):
                result = await asyncio.to_thread(bare, *command)
                assert result.code in (0, 1, 2), (one, result.err)
            for path in ("/outbox/stats", "/outbox/messages", "/health/ready", "/dashboard"):
                answer = await api.get(path)
                assert answer.status_code < 500 or answer.status_code == 503, (one, path, answer.text[:300])


async def test_a_lease_that_cannot_be_read_is_named_and_can_be_made_anew(
    settings: OutboxSettings, mongo: AsyncMongoClient[Document], database: str, bare: Cli
) -> None:
    db, name = Database(mongo, database), f"{NAME}/1"
    await db[PARTITIONS].update_one({"_id": name}, {"$set": {"token": "seven"}})
    verified = await asyncio.to_thread(bare, "verify", "--json")
    found = {finding["check"]: finding for finding in verified.json["findings"]}
    assert found["unreadable-lease"]["examples"] == [name]
    await db[PARTITIONS].delete_one({"_id": name})
    assert (await asyncio.to_thread(bare, "init")).code == 0
    assert "unreadable-lease" not in (await asyncio.to_thread(bare, "verify", "--json")).out
