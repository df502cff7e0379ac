"""Poison: documents that were written around the library. Each ends dead with a reason, and stops nobody (G1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from bson import ObjectId, decode, encode
from bson.raw_bson import RawBSONDocument

from outbox.database import OUTBOX, PARTITIONS
from outbox.message.poison import identity
from outbox.operations import stats, upkeep
from outbox.servers.connections import connect_redis
from outbox.settings import load
from outbox.streams.declaration import FILES
from outbox_api.app import create_app
from outbox_api.settings import ApiSettings
from tests.faults.history import Poisoned
from tests.faults.poison import DRAINED, GONE, STRAY, broken, document
from tests.faults.scenario import LENIENT, Scenario
from tests.waiting import eventually

EVERY = {**DRAINED, **STRAY}


def name_of(document: Any) -> str:
    """As the judge names it."""
    raw = document.raw if isinstance(document, RawBSONDocument) else encode(document)
    return str(decode(raw, codec_options=LENIENT)["_id"])


async def write(scenario: Scenario, documents: Mapping[str, Any]) -> None:
    for made in documents.values():
        await scenario.database[OUTBOX].insert_one(made, bypass_document_validation=True)
    scenario.history.add(*(Poisoned(name_of(made)) for made in documents.values()))


async def test_poison_is_dead_with_its_reason_and_the_rest_goes_on(scenario: Scenario) -> None:
    """Also while it is written: a change stream meets it first."""
    await scenario.append_many(10)
    await write(scenario, {name: DRAINED[name] for name in list(DRAINED)[::2]})
    await scenario.append_many(10)
    async with scenario.relay(redis_patience=60):  # or a slow machine would be an outage
        await write(scenario, {name: DRAINED[name] for name in list(DRAINED)[1::2]})
        await scenario.append_many(10)
        await scenario.comes_to_rest(30)
        assert not scenario.told("unavailable")
        assert not scenario.told("no change stream")


async def test_strays_are_dead_with_their_reason(scenario: Scenario) -> None:
    async with scenario.relay():
        await write(scenario, STRAY)
        await scenario.append_many(10)
        assert await upkeep.stage(scenario.database) == 0
        assert await upkeep.bury_strays(scenario.database)
        assert await upkeep.bury_strays(scenario.database) == 0
        await scenario.comes_to_rest()


@pytest.mark.parametrize("made", EVERY.values(), ids=EVERY.keys())
def test_an_id_is_known_by_its_bytes(made: Any) -> None:
    raw = bytes(made.raw) if isinstance(made, RawBSONDocument) else encode(made)
    known = identity(raw)
    assert known.raw[4:-1] in raw
    there, found = (decode(bytes_, codec_options=LENIENT) for bytes_ in (raw, known.raw))
    assert list(found) == ["_id"]
    assert repr(found["_id"]) == repr(there["_id"])


async def test_everything_that_shows_messages_shows_poison(
    scenario: Scenario,
) -> None:
    await write(scenario, EVERY)
    settings = scenario.settings

    async def look() -> None:
        async with connect_redis(settings) as redis:
            json.dumps((await stats.collect(scenario.database, redis, settings.streams)).as_json(), allow_nan=False)
        app = create_app(load(ApiSettings), settings)
        async with app.router.lifespan_context(app) as shared:

            async def with_state(scope: Any, receive: Any, send: Any) -> None:
                scope["state"] = dict(shared or {})
                await app(scope, receive, send)

            transport = httpx.ASGITransport(with_state, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://api", timeout=60) as api:
                assert (await api.get("/outbox/stats")).status_code == 200
                seen = await pages(api, limit=20)
                assert len(seen) == len(EVERY), "every message is on one page"
                for id_ in filter(ObjectId.is_valid, seen):
                    assert (await api.get(f"/outbox/messages/{id_}")).status_code == 200

    await look()
    async with scenario.relay():
        await upkeep.bury_strays(scenario.database)
        await scenario.comes_to_rest(30)
    await look()


async def test_what_was_published_around_the_library_stops_neither_pruning_nor_recovery(scenario: Scenario) -> None:
    old = ObjectId.from_datetime(datetime(2020, 1, 1, tzinfo=UTC)).binary[:4]
    like = {"state": "published", "batch": 1, "tag": "t", "attempts": 1}
    done: list[Any] = [{}, {"position": GONE}, {"published_at": 5}, {}]
    unknown: list[Any] = [{"key": GONE}, {"key": 7}, {"key": ["a"]}, {"key": "no such file"}, {"stream": GONE}]
    changes = [*done[:2], *unknown, *done[2:]]
    there: list[Any] = [document(_id=ObjectId(old + bytes([n] * 8)), **{**like, **c}) for n, c in enumerate(changes)]
    there.insert(3, broken(b"kkkk", _id=ObjectId(old + b"\2" * 7 + b"f"), key="kkkk", **like))
    await scenario.database.files.insert_one({"_id": "k", "parsing": "parsed"})
    await scenario.database[OUTBOX].insert_many(there, bypass_document_validation=True)
    # What is settled goes, though it stands among messages of which nobody can tell whether they are: those stay.
    assert await upkeep.prune(scenario.database, scenario.settings.streams, older_than=timedelta(days=1)) == len(done)
    left = await scenario.database[OUTBOX].find({}, {"_id": 1}).to_list()
    assert len(left) == len(unknown) + 1
    await scenario.database[OUTBOX].delete_many({})
    await scenario.database[OUTBOX].insert_many(there, bypass_document_validation=True)
    # Redis knows of no batch: what MongoDB has under one was lost.
    await scenario.database[PARTITIONS].update_many({"number": 0}, {"$set": {"batch": 1, "tag": "t"}})
    async with scenario.relay():
        ours = {"stream": FILES.name, "partition": 0, "state": "published"}
        await eventually(lambda: nothing(scenario, ours))


async def nothing(scenario: Scenario, query: Mapping[str, Any]) -> bool:
    return await scenario.database[OUTBOX].count_documents(query) == 0


async def pages(api: httpx.AsyncClient, limit: int) -> list[str]:
    """The ids on all pages."""
    seen: list[str] = []
    before: dict[str, str] = {}
    while True:
        answer = await api.get("/outbox/messages", params={"limit": limit, **before})
        assert answer.status_code == 200, answer.text[:1000]
        seen += [str(found["id"]) for found in answer.json()["messages"]]
        if not answer.json()["before"]:
            return seen
        before = {"before": answer.json()["before"]}
