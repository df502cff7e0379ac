"""Replays and the audit over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from bson import ObjectId

from outbox.database import Database
from outbox.message.document import State
from outbox_relay.replays import Replays
from outbox_relay.service import Next
from tests.outbox.shelf import Shelf

SINCE = {"since": "2020-01-01T00:00:00Z"}


async def work(db: Database) -> None:
    replays = Replays(db, "relay-1")
    while (await replays.run_once()).next is Next.AGAIN:
        pass


async def test_a_dry_run_counts(api: httpx.AsyncClient, db: Database) -> None:
    shelf = Shelf(db)
    await shelf.put(State.PUBLISHED, 2)
    await shelf.put(State.COMPLETED)
    await shelf.put(State.DEAD)
    answer = await api.post("/outbox/replay", json={"states": ["published"], "dry_run": True})
    assert (answer.status_code, answer.json()) == (200, {"selected": 2, "replayed": 0})
    assert (await api.get("/outbox/replays")).json() == {"replays": []}


async def test_a_replay_is_a_job_that_a_relay_works_on(api: httpx.AsyncClient, db: Database) -> None:
    shelf = Shelf(db)
    published = await shelf.put(State.PUBLISHED, 2)
    await shelf.put(State.COMPLETED)

    answer = await api.post("/outbox/replay", json=SINCE | {"rate": 500})
    assert answer.status_code == 202
    job = answer.json()
    assert (job["phase"], job["selected"], job["replayed"], job["rate"], job["who"]) == ("waiting", 3, 0, 500, "anyone")
    assert answer.headers["Location"] == f"/outbox/replays/{job['id']}"
    assert await shelf.states(*published) == ["published", "published"]

    await work(db)
    done = (await api.get(answer.headers["Location"])).json()
    assert (done["phase"], done["replayed"], done["owner"]) == ("done", 3, "relay-1")
    assert (done["left_out"], done["failure"]) == (0, None)
    assert (await api.get("/outbox/replays")).json()["replays"] == [done]
    assert await db.outbox.count_documents({"state": "pending"}) == 3


async def test_the_same_request_twice_is_one_replay(api: httpx.AsyncClient, db: Database) -> None:
    await Shelf(db).put(State.PUBLISHED, 2)
    headers = {"Idempotency-Key": "incident-1"}
    first, second = [await api.post("/outbox/replay", json=SINCE, headers=headers) for _ in range(2)]
    assert first.json() == second.json()
    other = await api.post("/outbox/replay", json={"key": "k"}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "urn:outbox:idempotency-key-taken")
    assert len((await api.get("/outbox/replays")).json()["replays"]) == 1


async def test_the_same_request_at_another_rate_is_another(api: httpx.AsyncClient, db: Database) -> None:
    """Its answer would be a job that is slower or faster than was asked for."""
    await Shelf(db).put(State.PUBLISHED, 2)
    headers = {"Idempotency-Key": "incident-1"}
    bodies = [SINCE | {"rate": 5}, SINCE | {"rate": 5.0}, SINCE]
    first, same, none = [await api.post("/outbox/replay", json=body, headers=headers) for body in bodies]
    assert first.json() == same.json() == none.json()
    other = await api.post("/outbox/replay", json=SINCE | {"rate": 500}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "urn:outbox:idempotency-key-taken")
    assert "asked for 5 messages a second, not 500" in other.json()["detail"]
    assert (await api.get("/outbox/replays")).json()["replays"] == [first.json()]


async def test_a_request_that_names_the_same_in_another_order_is_the_same(api: httpx.AsyncClient, db: Database) -> None:
    a, b, c = map(str, await Shelf(db).put(State.PUBLISHED, 3))
    headers, both = {"Idempotency-Key": "incident-1"}, ["published", "completed"]
    bodies = [{"ids": [a, b]}, {"ids": [b, a]}, {"ids": [a, b, a]}, {"ids": [a, b], "states": both[::-1]}]
    answers = [await api.post("/outbox/replay", json=body, headers=headers) for body in bodies]
    assert [answer.status_code for answer in answers] == [202] * 4
    assert len({answer.json()["id"] for answer in answers}) == 1
    for other in ({"ids": [a, c]}, {"ids": [a]}, {"ids": [a, b, c]}, {"ids": [a, b], "states": both[:1]}):
        answer = await api.post("/outbox/replay", json=other, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:outbox:idempotency-key-taken")


async def test_a_replay_can_be_cancelled_once(api: httpx.AsyncClient, db: Database) -> None:
    await Shelf(db).put(State.PUBLISHED, 2)
    job = (await api.post("/outbox/replay", json=SINCE)).json()["id"]
    assert (await api.post(f"/outbox/replays/{job}/cancel")).json()["phase"] == "cancelled"
    assert (await api.post(f"/outbox/replays/{job}/cancel")).status_code == 409
    await work(db)
    assert await db.outbox.count_documents({"state": "published"}) == 2
    for missing in (api.get(f"/outbox/replays/{ObjectId()}"), api.post(f"/outbox/replays/{ObjectId()}/cancel")):
        assert (await missing).status_code == 404


async def test_what_operators_did_is_told(api: httpx.AsyncClient, db: Database) -> None:
    shelf = Shelf(db)
    [dead] = await shelf.put(State.DEAD)
    await shelf.put(State.PUBLISHED)
    await api.post(f"/outbox/messages/{dead}/retry")
    await api.post("/outbox/replay", json=SINCE)
    told = (await api.get("/outbox/audit")).json()["records"]
    assert [(record["action"], record["who"], record["count"]) for record in told] == [
        ("replay", "anyone", 1), ("retry", "anyone", 1),
    ]  # fmt: skip
    assert told[1]["details"]["message"] == str(dead)
    page = (await api.get("/outbox/audit", params={"limit": 1})).json()
    assert (await api.get("/outbox/audit", params={"before": page["before"]})).json()["records"] == told[1:]
    assert (await api.get("/outbox/audit", params={"action": "discard"})).json()["records"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"dry_run": True},
        {"states": ["dead"]},
        {"states": []},
        {"since": "2020-01-01T00:00:00"},
        {"since": "2020-01-02T00:00:00Z", "until": "2020-01-01T00:00:00Z"},
        {"ids": ["x"]},
        {"streem": "file_parsing_queue"},
        {"stream": "file_parsing_quene"},
        {"key": "k", "rate": 0},
        {"states": ["published", "completed"]},
    ],
)
async def test_a_replay_of_everything_or_nonsense_is_refused(body: dict[str, Any], api: httpx.AsyncClient) -> None:
    answer = await api.post("/outbox/replay", json=body)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "since",
    ["2026", "1767225600", "1767225600.5", "2026-01", "2026-01-01", "20260101T000000Z", "2026-01-01T00:00:00",
     "2026-01-01 00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T25:00Z", "2026-01-01T00:00:00+25:00",
     "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00",
     "10000-01-01T00:00:00Z", "\u0662\u0660\u0662\u0666-01-01T00:00:00Z", "", " ", "P1D", "now", 2026, 1e300,
     True, [], {"$gt": ""}],
    ids=str,
)  # fmt: skip
async def test_a_time_is_iso_8601_with_its_zone(since: object, api: httpx.AsyncClient, db: Database) -> None:
    await Shelf(db).put(State.PUBLISHED, 2)
    for name in ("since", "until"):
        answer = await api.post("/outbox/replay", json={name: since, "dry_run": True})
        assert answer.status_code == 422, answer.text
        assert answer.json()["type"] in ("urn:outbox:invalid-request", "urn:outbox:wrong-request")


async def test_times_with_a_zone_select_what_they_say(api: httpx.AsyncClient, db: Database) -> None:
    await Shelf(db).put(State.PUBLISHED, 2)
    for since, selected in (
        ("1970-01-01T00:00Z", 2),
        ("2020-01-01T01:00:00.123456789+01:00", 2),
        ("2020-01-01t00:00:00z", 2),
        ("2999-01-01T00:00:00+0000", 0),
        ("9999-12-31T23:59:59Z", 0),
    ):
        answer = await api.post("/outbox/replay", json={"since": since, "dry_run": True})
        assert answer.json() == {"selected": selected, "replayed": 0}, since
