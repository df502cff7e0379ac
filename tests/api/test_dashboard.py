"""The dashboard's door and its forms, without a browser; what a browser shows is in tests/browser."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from bson import Code, ObjectId
from fastapi.routing import APIRoute
from redis.asyncio import Redis

from outbox.database import Database
from outbox.message.document import State
from outbox.operations import moments, reasons, replay
from outbox.operations.day import summarise
from outbox.operations.downtime import Downtime
from outbox.operations.history import Minute
from outbox.streams.declaration import FILES
from outbox.web import keys
from outbox.web.keys import Scope
from outbox_api.dashboard import pages, routing
from outbox_api.dashboard.sessions import ByCookie
from tests.api.conftest import Serve
from tests.outbox.shelf import Shelf, a_document

ALICE, ALICES = keys.make("alice", [Scope.READ, Scope.OPERATE])
BOB, BOBS = keys.make("bob", [Scope.READ])
UPLOADER, UPLOADERS = keys.make("shop", [Scope.UPLOAD])
KEYS = " ".join(key.line for key in (ALICES, BOBS, UPLOADERS))


@pytest.fixture
async def api(db: Database, serve: Serve) -> httpx.AsyncClient:
    return await serve(api_keys=KEYS, api_session_secret="s" * 32)


async def login(api: httpx.AsyncClient, secret: str, **fields: str) -> httpx.Response:
    return await api.post("/dashboard/login", data={"key": secret, **fields})


async def token(api: httpx.AsyncClient, message: ObjectId) -> str:
    """What the forms of this session carry."""
    page = (await api.get(f"/dashboard/messages/{message}")).text
    found = re.search(r'name="token" value="([0-9a-f]{64})"', page)
    assert found, "the page has no form"
    return found[1]


def test_every_page_but_the_door_asks_who_is_there() -> None:
    for router, scope in ((routing.reading, Scope.READ), (routing.operating, Scope.OPERATE)):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            guards = [d.dependency for d in route.dependencies if isinstance(d.dependency, ByCookie)]
            assert [guard.scope for guard in guards] == [scope], route.path
            assert (route.methods == {"POST"}) == (scope is Scope.OPERATE), "what changes something is a form"
    door = {getattr(route, "path", "") for route in routing.door.routes}
    assert door == {"/dashboard/login", "/dashboard/logout", "/dashboard/{path:path}"}, "the last one shows nothing"


async def test_who_is_not_logged_in_is_asked_to_and_comes_back(api: httpx.AsyncClient) -> None:
    asked = await api.get("/dashboard/search?q=report")
    assert asked.status_code == 303
    assert asked.headers["Location"] == "/dashboard/login?next=%2Fdashboard%2Fsearch%3Fq%3Dreport"
    page = await api.get(asked.headers["Location"])
    assert 'value="/dashboard/search?q=report"' in page.text
    entered = await login(api, ALICE, next="/dashboard/search?q=report")
    assert (entered.status_code, entered.headers["Location"]) == (303, "/dashboard/search?q=report")
    cookie = entered.headers["Set-Cookie"].lower()
    for part in ("httponly", "samesite=strict", "path=/dashboard", "max-age=43200"):
        assert part in cookie
    assert ALICE.lower() not in cookie
    assert (await api.get("/dashboard/search?q=report")).status_code == 200


@pytest.mark.parametrize(
    "wanted", ["https://evil.example", "//evil.example", "/dashboardx", "/\\evil.example", "/files"]
)
async def test_a_login_leads_nowhere_else(api: httpx.AsyncClient, wanted: str) -> None:
    assert (await login(api, ALICE, next=wanted)).headers["Location"] == "/dashboard"


async def test_what_is_no_key_does_not_enter(api: httpx.AsyncClient) -> None:
    for secret in ("", "wrong", ALICES.digest, ALICES.line):
        refused = await login(api, secret)
        assert refused.status_code == 401
        assert "Set-Cookie" not in refused.headers
    for _ in range(40):
        refused = await login(api, "wrong")
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    # Whoever has a key is not kept out by others at the same address.
    assert (await login(api, ALICE)).status_code == 303


async def test_a_cookie_that_is_not_ours_is_none(api: httpx.AsyncClient) -> None:
    await login(api, ALICE)
    value = api.cookies["outbox_session"]
    other = "yy" if value[-2] == "x" else "xx"  # the last letter alone need not differ in a bit that counts
    for forged in ("", "x", value[:-1], value[:-2] + other, f"{value}.x", value.replace(".", "", 1)):
        api.cookies.clear()
        assert (await api.get("/dashboard", headers={"Cookie": f"outbox_session={forged}"})).status_code == 303, forged


async def test_a_session_ends_with_its_key(db: Database, serve: Serve, api: httpx.AsyncClient) -> None:
    await login(api, ALICE)
    headers = {"Cookie": f"outbox_session={api.cookies['outbox_session']}"}
    for there, status in ((KEYS, 200), (BOBS.line, 303)):
        later = await serve(api_keys=there, api_session_secret="s" * 32)
        assert (await later.get("/dashboard", headers=headers)).status_code == status
    other = await serve(api_keys=KEYS, api_session_secret="t" * 32)
    assert (await other.get("/dashboard", headers=headers)).status_code == 303


async def test_a_key_needs_the_scope_to_enter_and_to_act(api: httpx.AsyncClient, db: Database) -> None:
    (message,) = await Shelf(db).put(State.DEAD)
    await login(api, UPLOADER)
    assert (await api.get("/dashboard")).status_code == 403
    await login(api, BOB)
    page = await api.get(f"/dashboard/messages/{message}")
    assert page.status_code == 200
    assert 'name="token"' not in page.text
    assert (await api.post(f"/dashboard/messages/{message}/retry", data={"token": "x"})).status_code == 403
    assert (await Shelf(db).get(message))["state"] == "dead"


async def test_a_form_must_be_of_this_session(api: httpx.AsyncClient, db: Database, serve: Serve) -> None:
    (message,) = await Shelf(db).put(State.DEAD)
    path = f"/dashboard/messages/{message}/retry"
    await login(api, ALICE)
    ours = await token(api, message)
    await login(api, ALICE)
    for theirs in ({}, {"token": ""}, {"token": ours}, {"token": "0" * 64}):
        refused = await api.post(path, data=theirs)
        assert refused.status_code == 403, theirs
        assert "load the page again" in refused.text
    ours = await token(api, message)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert (await api.post(path, data={"token": ours}, headers=headers)).status_code == 403
    assert (await Shelf(db).get(message))["state"] == "dead"
    assert (await api.post(path, data={"token": ours})).status_code == 303
    assert (await Shelf(db).get(message))["state"] == "pending"
    (record,) = await db.outbox_audit.find().to_list()
    assert (record["who"], record["action"]) == ("alice", "retry")


async def test_without_keys_everybody_here_may_do_all_and_no_other_site(db: Database, serve: Serve) -> None:
    api = await serve()
    (message,) = await Shelf(db).put(State.DEAD)
    path, form = f"/dashboard/messages/{message}/retry", {"token": await token(api, message)}
    assert (await api.post(path, data=form, headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
    assert (await api.post(path, data=form, headers={"Sec-Fetch-Site": "same-origin"})).status_code == 303


async def test_a_form_that_is_sent_twice_is_one_replay(api: httpx.AsyncClient, db: Database) -> None:
    await Shelf(db).put(State.PUBLISHED, 3)
    await login(api, ALICE)
    page = (await api.get("/dashboard/replay?state=published")).text
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    first, second = [await api.post("/dashboard/replay", data=form) for _ in range(2)]
    assert first.headers["Location"] == second.headers["Location"]
    assert await db.outbox_jobs.count_documents({}) == 1
    job = await db.outbox_jobs.find_one({})
    assert job
    assert (job["who"], job["selected"]) == ("alice", 3)
    cancelled = await api.post(f"{first.headers['Location']}/cancel", data={"token": form["token"]})
    assert cancelled.status_code == 303
    assert (await db.outbox_jobs.find_one({}) or {})["phase"] == "cancelled"
    assert "cancel replay" in (await api.get("/dashboard/audit")).text


@pytest.mark.parametrize(("name", "typed", "counted"), [("since", "1h30m", 1), ("until", "90m", 2)])
async def test_how_long_ago_is_counted_from_when_it_was_counted(
    name: str, typed: str, counted: int, api: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not from when the button is pressed: that would replay others than the page says."""
    now = datetime.now(UTC)
    at = [now - timedelta(minutes=minutes) for minutes in (80, 100, 120)]
    for moment in at:
        await Shelf(db).put(State.PUBLISHED, at=moment)
    await login(api, ALICE)
    page = (await api.get("/dashboard/replay", params={name: typed})).text
    assert f"Replay {counted} message" in page
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    read_at = moments.read_at
    monkeypatch.setattr(moments, "read_at", lambda text, now: read_at(text, now + timedelta(minutes=25)))
    first, second = [await api.post("/dashboard/replay", data=form) for _ in range(2)]
    assert first.status_code == 303
    assert second.headers.get("Location") == first.headers["Location"]
    (job,) = await db.outbox_jobs.find({}).to_list()
    assert job["selected"] == counted


async def test_more_than_are_counted_can_be_replayed(
    api: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "COUNTED", 2, raising=False)
    await Shelf(db).put(State.PUBLISHED, 3)
    await login(api, ALICE)
    page = (await api.get("/dashboard/replay?state=published")).text
    assert "an unknown number of messages (more than 2, " in page
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    asked = await api.post("/dashboard/replay", data=form)
    assert "Replay of an unknown number of messages" in (await api.get(asked.headers["Location"])).text
    assert (await api.get("/dashboard/audit")).status_code == 200


async def test_a_page_of_reasons_says_when_there_may_be_more(
    api: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Shelf(db).put(State.DEAD, 3)
    await login(api, ALICE)
    assert "There may be more" not in (await api.get("/dashboard/dead")).text
    monkeypatch.setattr(reasons, "COUNTED", 2)
    assert "There may be more: 2 of them are counted" in (await api.get("/dashboard/dead")).text


async def test_what_is_mistyped_is_told_on_a_page(api: httpx.AsyncClient) -> None:
    await login(api, ALICE)
    for path in ("/search?since=yesterdayish", "/search?state=lost", "/replay?ids=zz", "/replay?stream=nope",
                 "/search?q=" + "x" * 600, "/audit?before=1"):  # fmt: skip
        answer = await api.get(f"/dashboard{path}")
        assert answer.status_code == 422, path
        assert answer.headers["Content-Type"].startswith("text/html")
    missing = await api.get(f"/dashboard/messages/{ObjectId()}")
    assert missing.status_code == 404
    assert "pruned or discarded" in missing.text


async def test_what_was_written_around_the_library_can_be_looked_at(api: httpx.AsyncClient, db: Database) -> None:
    strange = {"_id": ObjectId(), "state": "dead", "fields": 3, "key": 7, "stream": None, "died_at": "now"}
    code = a_document(State.DEAD) | {"key": Code("k")}
    await db.outbox.insert_many([strange, code, {"_id": ObjectId(), "state": "lost"}], bypass_document_validation=True)
    await login(api, ALICE)
    for path in ("", "/dead", "/search?state=dead", *(f"/messages/{one['_id']}" for one in (strange, code))):
        assert (await api.get(f"/dashboard{path}")).status_code == 200, path


async def test_a_worker_that_holds_an_entry_of_others_is_shown(api: httpx.AsyncClient, redis: Redis) -> None:
    """Its id is no time that there is, and what it names is no message."""
    entry = f"{2**63}-0"
    await redis.xgroup_create(FILES.key, FILES.group, "0", mkstream=True)
    await redis.xadd(FILES.key, {"message_id": "../replay"}, id=entry)
    await redis.xreadgroup(FILES.group, "another", {FILES.key: ">"})
    await login(api, ALICE)
    page = await api.get("/dashboard")
    assert page.status_code == 200
    assert f"entry {entry}" in page.text
    assert "../replay" not in page.text


def test_an_outage_that_lasts_is_shown_since_when() -> None:
    began = datetime(2030, 1, 1, 12, tzinfo=UTC)
    without_redis = Minute(began, 1, None, 3, 0, 0, 1, undelivered=None, unacknowledged=None, median=None, longest=None)
    frame = SimpleNamespace(
        day=summarise([without_redis], [Downtime("redis", began)], [], began + timedelta(minutes=1))
    )
    shown = str(pages.regions().day(frame))
    assert "1 time; Redis is away since 2030-01-01 12:00:00Z." in shown


async def test_pages_are_kept_nowhere_and_run_nothing_of_their_own(api: httpx.AsyncClient) -> None:
    await login(api, ALICE)
    page = await api.get("/dashboard")
    assert page.headers["Cache-Control"] == "no-store"
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert re.findall(r"<script(?! src=)|<style| style=| on\w+=", page.text) == []
    for address in re.findall(r'(?:src|href)="(/dashboard/static/[^"]+)"', page.text):
        assert (await api.get(address)).status_code == 200


@pytest.mark.parametrize("page", ["search", "replay"])
@pytest.mark.parametrize(
    "typed", ["2026", "1767225600", "0001-01-01", "1969-12-31", "9999-12-31T23:59-14:00", "99999999d", "1e400d"]
)
async def test_a_time_that_cannot_be_is_refused_on_the_page(api: httpx.AsyncClient, page: str, typed: str) -> None:
    await login(api, ALICE)
    for name in ("since", "until"):
        answer = await api.get(f"/dashboard/{page}", params={name: typed})
        assert answer.status_code == 422, answer.text


async def test_a_search_knows_times_that_ids_cannot_hold(api: httpx.AsyncClient, db: Database) -> None:
    (message,) = await Shelf(db).put(State.PUBLISHED)
    await login(api, ALICE)
    for query, found in (("since=1970-01-01", True), ("since=2200-01-01", False), ("until=2200-01-01", True)):
        answer = await api.get(f"/dashboard/search?{query}")
        assert answer.status_code == 200
        assert (str(message) in answer.text) is found, query
