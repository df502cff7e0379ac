"""As an attacker would: headers that lie or make no sense, guessed keys, cookies that outlive their session."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import httpx
import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect, PyMongoError
from starlette.requests import HTTPConnection

from api import guesses
from api.access import ANYONE
from api.dashboard import sessions
from api.dashboard.sessions import Session
from api.errors import TooManyStreams
from api.guesses import network_of
from api.settings import ApiSettings
from outbox import audit, jobs, keys, replay
from outbox.append import Outbox
from outbox.connections import connect_redis
from outbox.errors import SettingsError
from outbox.keys import Scope
from outbox.message import State
from outbox.migration import Migration
from outbox.reparse import reparse
from outbox.schema import Database
from outbox.settings import OutboxSettings, load
from tests.api.conftest import Serve
from tests.api.serving import Api
from tests.outbox.shelf import Shelf
from tests.waiting import eventually

ALICE, ALICES = keys.make("alice", [Scope.READ, Scope.OPERATE, Scope.UPLOAD])
SHARED = {"api_keys": ALICES.line, "api_session_secret": "s" * 32}
PROCESS = {"API_KEYS": ALICES.line, "API_SESSION_SECRET": "s" * 32}

# -- headers


HEADERS = (
    "Origin", "Host", "Authorization", "Cookie", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "Content-Type", "Content-Disposition", "Range", "If-Range", "If-None-Match", "If-Modified-Since", "traceparent",
    "tracestate", "Idempotency-Key", "Accept", "Accept-Encoding", "Last-Event-ID", "Sec-Fetch-Site", "Referer",
)  # fmt: skip
ODD = (
    "http://[::1", "[", "[::1", "]", "http://[::g]", "//", "http://\u2100.evil", "%", "%%", ":", "::", "a:b:c",
    ":99999999",
    "127.0.0.1:x", "null", "\\", "bytes=-", "bytes=9-1,0-", "bytes=" + "0-0," * 200, 'W/"', '"', ";", "a=b;c", "=", ",",
    "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 300, "application/json; charset=nope",
    "form-data; filename*=UTF-8''%ff",
    "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "Bearer " + "\u00e9" * 9, "Basic Og==",
    "outbox_session=a.b.c", "outbox_session=" + "A" * 3000, "unknown", "for=[::1", "1.2.3.4, [",
    "\x7f", "\x01", "9" * 400,
)  # fmt: skip
REQUESTS = (
    ("GET", "/files", b""), ("GET", "/dashboard", b""), ("GET", "/dashboard/login", b""), ("GET", "/health/live", b""),
    ("GET", "/dashboard/static/live.js", b""), ("GET", "/nowhere", b""), ("GET", "/files/", b""),
    ("GET", "/docs/static", b""), ("POST", "/files", b"--b--\r\n"), ("POST", "/dashboard/login", b"key=x&next=//["),
    ("POST", "/dashboard/logout", b""), ("PUT", "/files/reparse", b"{}"), ("POST", "/outbox/replay", b'{"key": "k"}'),
    ("POST", "/outbox/messages/66f0c2a51f2b9c0d8e4a7b31/retry", b""),
)  # fmt: skip


@pytest.fixture
def apis(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> Iterator[list[Api]]:
    """An open door, and one with keys behind a proxy on this machine."""
    with (
        Api(tmp_path / "open", outbox_settings) as door,
        Api(tmp_path / "locked", outbox_settings, **PROCESS, API_TRUSTED_PROXIES="127.0.0.0/8") as locked,
    ):
        yield [door, locked]


def ask(api: Api, method: str, path: str, body: bytes, headers: list[tuple[str, bytes]]) -> int:
    """The status of the answer to a request that no client library would send."""
    given = {name.lower() for name, _ in headers}
    head = f"{method} {path} HTTP/1.1\r\n".encode()
    if "host" not in given:
        head += b"Host: localhost\r\n"
    for name, value in headers:
        head += name.encode() + b": " + value + b"\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", api.port), timeout=20) as connection:
        connection.sendall(head + body)
        answer = b""
        while b"\r\n" not in answer and (data := connection.recv(4096)):
            answer += data
    return int(answer.split()[1])


VALUES = st.sampled_from(ODD).map(lambda text: text.encode("utf-8")) | st.binary(max_size=60).map(
    lambda raw: re.sub(rb"[\r\n\0]", b"", raw)
)


def test_no_header_makes_an_answer_5xx(apis: list[Api]) -> None:
    @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(REQUESTS),
        st.lists(st.tuples(st.sampled_from(HEADERS), VALUES), min_size=1, max_size=3),
        st.booleans(),
    )
    def fuzz(request: tuple[str, str, bytes], headers: list[tuple[str, bytes]], with_key: bool) -> None:
        door, locked = apis
        key = [("Authorization", f"Bearer {ALICE}".encode())] if with_key else []
        for api in (door, locked):
            assert ask(api, *request, [*headers, *key]) < 500

    for name in HEADERS:  # each of the known ones with each of the likely values, where most is parsed
        for value in ODD:
            for api in apis:
                assert ask(api, "POST", "/dashboard/login", b"key=x", [(name, value.encode())]) < 500, (name, value)
    fuzz()
    assert all("Traceback" not in api.output() for api in apis)


def test_an_origin_that_cannot_be_parsed_is_refused_and_counted(apis: list[Api]) -> None:
    door = apis[0]
    path = "/outbox/messages/66f0c2a51f2b9c0d8e4a7b31/retry"
    for origin in ("http://[::1", "http://[", "https://evil.example", "//localhost", "localhost"):
        before, logged = metric(door, "403"), len(door.output())
        assert ask(door, "POST", path, b"", [("Origin", origin.encode())]) == 403
        assert metric(door, "403") == before + 1
        assert len(door.output()) - logged < 300


def metric(api: Api, status: str) -> float:
    text = httpx.get(f"{api.url}/metrics").text
    return sum(float(n) for n in re.findall(rf'^api_requests_total{{.*status="{status}"}} (\S+)$', text, re.MULTILINE))


# -- guesses


def guess(api: Api, number: int, forwarded: str | None = None) -> int:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return httpx.post(f"{api.url}/dashboard/login", data={"key": f"wrong{number}"}, headers=headers).status_code


def test_whom_nobody_trusts_cannot_say_where_it_comes_from(
    tmp_path: Path, outbox_settings: OutboxSettings, db: Database
) -> None:
    with Api(tmp_path, outbox_settings, **PROCESS) as api:
        statuses = [guess(api, n, f"10.1.{n}.1") for n in range(45)]
        assert statuses == [401] * 30 + [429] * 15
        assert '"address": "127.0.0.1"' in api.output()


def test_behind_a_proxy_the_rightmost_address_that_is_not_its_own_counts(
    tmp_path: Path, outbox_settings: OutboxSettings, db: Database
) -> None:
    with Api(tmp_path, outbox_settings, **PROCESS, API_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8") as api:
        statuses = [guess(api, n, f"{n}.2.3.4, 198.51.100.7:{2000 + n}, 10.0.0.{n}") for n in range(33)]
        assert statuses == [401] * 30 + [429] * 3
        assert guess(api, 0, "198.51.100.8") == 401  # another client has a share of its own
        assert '"address": "198.51.100.7"' in api.output()
        secure = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.9"}
        entered = httpx.post(f"{api.url}/dashboard/login", data={"key": ALICE}, headers=secure)
        assert "secure" in entered.headers["Set-Cookie"].lower()


@pytest.mark.parametrize("proxies", ["*", "proxy.example", "10.0.0.0/33", "10.0.0.1/8"])
def test_a_proxy_is_an_address_or_a_network(outbox_settings: OutboxSettings, proxies: str) -> None:
    with pytest.raises(SettingsError, match="API_TRUSTED_PROXIES"):
        load(ApiSettings, api_trusted_proxies=proxies)


async def test_wrong_keys_are_counted_for_all_processes_together(db: Database, serve: Serve) -> None:
    one, two = await serve(**SHARED), await serve(**SHARED)
    wrong = {"Authorization": "Bearer obx_wrong"}
    statuses = [(await (one, two)[n % 2].get("/files", headers=wrong)).status_code for n in range(34)]
    assert statuses == [401] * 30 + [429] * 4
    refused = await two.put("/files/reparse", headers=wrong)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    # Whoever has a key is not kept out by others at the same address, and no key at all is no guess.
    assert (await one.get("/files", headers={"Authorization": f"Bearer {ALICE}"})).status_code == 200
    assert (await one.get("/files")).status_code == 401


def test_one_who_has_a_network_is_one() -> None:
    assert network_of("2001:db8:1:2:aaaa::1") == network_of("2001:db8:1:2:bbbb::2") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"


async def test_many_addresses_take_no_more_memory_than_few(db: Database) -> None:
    counted = guesses.Guesses(db)
    counted._counts = {str(n): 1 for n in range(guesses.MAX_ADDRESSES)}
    counted._until = float("inf")
    await counted.count("key", HTTPConnection({"type": "http", "client": ("192.0.2.1", 1), "headers": []}))
    assert len(counted._counts) == guesses.MAX_ADDRESSES
    assert await db.outbox_refusals.count_documents({}) == 1


# -- sessions


async def cookie_of(api: httpx.AsyncClient) -> dict[str, str]:
    entered = await api.post("/dashboard/login", data={"key": ALICE})
    assert entered.status_code == 303
    return {"Cookie": f"outbox_session={api.cookies['outbox_session']}"}


async def test_a_logout_ends_the_session_at_every_process(db: Database, serve: Serve) -> None:
    one, two, later = await serve(**SHARED), await serve(**SHARED), await serve(**SHARED)
    cookie = await cookie_of(one)
    another = await cookie_of(two)
    for api in (one, two):
        assert (await api.get("/dashboard", headers=cookie)).status_code == 200
    assert (await one.post("/dashboard/logout", headers=cookie)).status_code == 303
    one.cookies.clear()
    two.cookies.clear()
    for api in (one, two, later):
        assert (await api.get("/dashboard", headers=cookie)).status_code == 303
        assert (await api.get("/dashboard/events", headers=cookie)).status_code == 303
        assert (await api.post("/dashboard/replay", headers=cookie)).status_code == 303
        assert (await api.get("/dashboard", headers=another)).status_code == 200
    (ended,) = await db.outbox_logouts.find().to_list()
    assert ended["_id"] not in cookie["Cookie"]
    assert ended["until"] is not None


async def test_a_key_with_other_scopes_ends_its_sessions(db: Database, serve: Serve) -> None:
    cookie = await cookie_of(await serve(**SHARED))
    for line, status in (
        (ALICES.line, 200),
        (ALICES.line.replace("read,operate", "read"), 303),
        (keys.make("b", [Scope.READ])[1].line, 303),
    ):
        api = await serve(api_keys=line, api_session_secret="s" * 32)
        assert (await api.get("/dashboard", headers=cookie)).status_code == status, line


async def test_a_logout_ends_open_streams_at_every_process(
    tmp_path: Path, outbox_settings: OutboxSettings, db: Database
) -> None:
    with (
        Api(tmp_path / "one", outbox_settings, **PROCESS) as one,
        Api(tmp_path / "two", outbox_settings, **PROCESS) as two,
    ):
        async with httpx.AsyncClient(timeout=30) as client:
            entered = await client.post(f"{one.url}/dashboard/login", data={"key": ALICE})
            cookie = {"Cookie": entered.headers["Set-Cookie"].partition(";")[0]}
            kept = (await client.post(f"{one.url}/dashboard/login", data={"key": ALICE})).headers["Set-Cookie"]
            still = {"Cookie": kept.partition(";")[0]}
            client.cookies.clear()
            ended: list[str] = []
            begun: list[str] = []

            async def watch(api: Api, headers: dict[str, str]) -> None:
                async with client.stream("GET", f"{api.url}/dashboard/events", headers=headers) as answer:
                    assert answer.status_code == 200
                    async for _ in answer.aiter_bytes():
                        if api.url not in begun:
                            begun.append(api.url)
                    ended.append(api.url)

            watching = [asyncio.create_task(watch(api, cookie)) for api in (one, two)]
            staying = asyncio.create_task(watch(two, still))
            await eventually(lambda: len(begun) == 2, 20)
            await client.post(f"{one.url}/dashboard/logout", headers=cookie)
            await eventually(lambda: len(ended) == 2, 20)
            await asyncio.gather(*watching)
            assert not staying.done()
            staying.cancel()
            await asyncio.gather(staying, return_exceptions=True)


async def test_streams_are_bounded(db: Database) -> None:
    bound = sessions.Sessions(None, db, None, 1)  # type: ignore[arg-type]
    one = Session("one", ANYONE, "", float("inf"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "MAX_STREAMS_EACH", 1)
        with bound.streaming(one):
            with pytest.raises(TooManyStreams):
                bound.refuse_more(one)
            bound.refuse_more(Session("two", ANYONE, "", float("inf")))
        bound.refuse_more(one)


# -- what belongs to whom

BOB, BOBS = keys.make("bob", [Scope.READ, Scope.OPERATE, Scope.UPLOAD])


def bearer(secret: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}", **more}


async def test_an_idempotency_key_belongs_to_its_caller(db: Database, serve: Serve) -> None:
    again_secret, again = keys.make("alice", [Scope.UPLOAD])  # her next key, while the old one is still valid
    api = await serve(api_keys=f"{ALICES.line} {BOBS.line} {again.line}")

    async def upload(secret: str, contents: bytes) -> httpx.Response:
        headers = bearer(secret, **{"Idempotency-Key": "1"})
        return await api.post("/files", files={"file": ("a", contents)}, data={"folderId": "f"}, headers=headers)

    first = await upload(ALICE, b"secret")
    same, other = await upload(BOB, b"secret"), await upload(BOB, b"secret")
    assert (first.status_code, same.status_code) == (201, 201)
    assert "idempotent-replayed" not in same.headers, "it is told nothing of alice's"
    assert same.json()["id"] != first.json()["id"]
    assert other.json() == same.json()
    assert (await upload(again_secret, b"secret")).json() == first.json()
    assert (await upload(ALICE, b"other")).status_code == 422


async def test_the_name_of_a_replay_belongs_to_its_caller_and_each_is_on_record(db: Database, serve: Serve) -> None:
    await Shelf(db).put(State.PUBLISHED, 2)
    api = await serve(api_keys=f"{ALICES.line} {BOBS.line}")
    jobs_of: dict[str, str] = {}
    for secret in (ALICE, BOB):
        for _ in range(2):
            answer = await api.post(
                "/outbox/replay",
                json={"stream": "file_parsing_queue"},
                headers=bearer(secret, **{"Idempotency-Key": "1"}),
            )
            assert answer.status_code == 202
            assert answer.json()["request"] == "1"
            assert jobs_of.setdefault(secret, answer.json()["id"]) == answer.json()["id"]
    assert jobs_of[ALICE] != jobs_of[BOB]
    records = await db.outbox_audit.find({"action": "replay"}).to_list()
    assert sorted(record["who"] for record in records) == ["alice", "bob"]


async def test_who_asks_again_by_the_command_line_is_on_record(db: Database) -> None:
    await Shelf(db).put(State.PUBLISHED)
    selection = replay.Selection(stream="file_parsing_queue")
    asked = [await jobs.create(db, selection, who=who, rate=1, request="r", owner="command-line") for who in "aab"]
    assert len({job.id for job in asked}) == 1
    told = [(record.who, record.action) for record in (await audit.page(db)).records]
    assert told == [("b", "replay asked for again"), ("a", "replay")]


# -- on record, or not done


async def test_a_single_replay_and_its_record_are_one_transaction(db: Database, serve: Serve) -> None:
    (message,) = await Shelf(db).put(State.PUBLISHED)
    assert await replay.one(db, message, who="alice")
    assert (await Shelf(db).get(message))["state"] == "pending"
    assert not await replay.one(db, message, who="alice"), "it is pending already"
    assert not await replay.one(db, ObjectId(), who="alice")
    (record,) = await db.outbox_audit.find().to_list()
    assert (record["who"], record["action"], record["details"]) == ("alice", "replay", {"message": message})


async def test_a_single_replay_that_does_not_happen_is_not_on_record(db: Database) -> None:
    """MongoDB loses the replay after it was put on record, and before its commit."""
    (message,) = await Shelf(db).put(State.PUBLISHED)
    failed = False

    async def fail(*arguments: Any, **options: Any) -> None:
        nonlocal failed
        await record(*arguments, **options)
        if not failed:
            failed = True
            raise AutoReconnect("the connection is gone")

    record = audit.record
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "record", fail)
        with pytest.raises(AutoReconnect):
            await replay.one(db, message, who="alice")
    assert (await Shelf(db).get(message))["state"] == "published"
    assert await db.outbox_audit.count_documents({}) == 0


async def act(what: str, db: Database, api: httpx.AsyncClient, settings: OutboxSettings) -> None:
    """Each thing that an operator can do, by HTTP, on the dashboard, or in a terminal."""
    streams = settings.streams
    dead, published = (await Shelf(db).put(State.DEAD))[0], (await Shelf(db).put(State.PUBLISHED))[0]
    file = (await db.files.insert_one({"parsing": "parsed", "folder_id": "f", "version": 1})).inserted_id
    await db.files.insert_one({"parsing": "parsing start", "folder_id": "f"})
    job = await jobs.create(db, replay.Selection(ids=(published,)), who="x", rate=1)
    await db.outbox_audit.delete_many({})
    if what.startswith("dashboard"):
        await api.post("/dashboard/login", data={"key": ALICE})
        page = (await api.get(f"/dashboard/messages/{dead}")).text
        token = re.findall(r'name="token" value="(\w+)"', page)[0]
        form = {"token": token, "stream": "file_parsing_queue", "before": "now"}
    outbox = Outbox(streams, database=db.name)
    await db.command("collMod", "outbox_audit", validator={"who": "nobody"})  # what MongoDB refuses to put on record
    path = "/outbox/messages" if what.startswith("http") else "/dashboard/messages"
    match what:
        case "http retry" | "http replay" | "http cancel":
            paths: dict[str, tuple[str, Any]] = {
                "http retry": (f"{path}/{dead}/retry", None),
                "http replay": ("/outbox/replay", {"ids": [str(published)]}),
                "http cancel": (f"/outbox/replays/{job.id}/cancel", None),
            }  # fmt: skip
            answer = await api.post(paths[what][0], json=paths[what][1], headers=bearer(ALICE))
            assert answer.status_code >= 500
        case "dashboard retry" | "dashboard discard":
            assert (await api.post(f"{path}/{dead}/{what.split()[1]}", data=form)).status_code >= 500
        case "dashboard replay":
            assert (await api.post(f"{path}/{published}/replay", data=form)).status_code >= 500
        case "dashboard replays":
            assert (await api.post("/dashboard/replay", data=form)).status_code >= 500
        case "dashboard cancel":
            assert (await api.post(f"/dashboard/replays/{job.id}/cancel", data=form)).status_code >= 500
        case "enqueue":
            with pytest.raises(PyMongoError):
                await reparse(db, outbox, [file], who="x")
        case "migrate":
            async with connect_redis(settings) as redis:
                with pytest.raises(PyMongoError):
                    await Migration(db, redis, streams).run(who="x")
        case _:
            raise AssertionError(what)


@pytest.mark.parametrize(
    "what",
    ["http retry", "http replay", "http cancel", "dashboard retry", "dashboard discard", "dashboard replay",
     "dashboard replays", "dashboard cancel", "enqueue", "migrate"],
)  # fmt: skip
async def test_what_cannot_be_put_on_record_is_not_done(
    what: str, db: Database, serve: Serve, outbox_settings: OutboxSettings
) -> None:
    api = await serve(**SHARED)
    try:
        await act(what, db, api, outbox_settings)
    finally:
        await db.command("collMod", "outbox_audit", validator={})
    assert await db.outbox.count_documents({}) == 2
    assert sorted([m["state"] async for m in db.outbox.find()]) == ["dead", "published"]
    assert [(j["phase"], j["open"]) async for j in db.outbox_jobs.find()] == [("waiting", True)]
    assert sorted([f["parsing"] async for f in db.files.find({"folder_id": "f"})]) == ["parsed", "parsing start"]


# -- large selections, and words of others


async def test_ten_thousand_ids_are_shown_as_their_number(db: Database, serve: Serve) -> None:
    ids = [str(ObjectId()) for _ in range(9_999)]
    api = await serve(**SHARED)
    answer = await api.post("/outbox/replay", json={"ids": ids}, headers=bearer(ALICE))
    assert answer.status_code == 202
    job = answer.json()["id"]
    (record,) = await db.outbox_audit.find().to_list()
    assert len(bson.encode(record)) < 2_000
    assert record["details"]["selection"]["ids_count"] == 9_999
    await api.post("/dashboard/login", data={"key": ALICE})
    for path in ("/outbox/replays", f"/outbox/replays/{job}", "/outbox/audit", "/dashboard", "/dashboard/audit",
                 f"/dashboard/replays/{job}"):  # fmt: skip
        shown = await api.get(path, headers=bearer(ALICE))
        assert shown.status_code == 200
        assert len(shown.content) < 30_000, path
        assert ids[19] in shown.text or path == "/dashboard", path
        assert ids[20] not in shown.text, path
    selection = (await api.get("/outbox/replays", headers=bearer(ALICE))).json()["replays"][0]["selection"]
    assert (len(selection["ids"]), selection["ids_count"]) == (20, 9_999)
    (latest,) = await jobs.latest(db)
    assert len(latest.selection.ids) == 20, "so much is read for every look"
    assert len((await jobs.find(db, ObjectId(job))).selection.ids) == 9_999, "and all of them are replayed"


async def test_a_link_cannot_put_words_into_a_page(db: Database, serve: Serve) -> None:
    api = await serve(**SHARED)
    await api.post("/dashboard/login", data={"key": ALICE})
    for words in ("call+0800-666-and-tell-them-your-key", "<b>x", "retried-and-more", "RETRIED"):
        page = await api.get(f"/dashboard?done={words}")
        assert page.status_code == 200
        assert "0800" not in page.text
        assert 'class="done"' not in page.text
    assert "Done: retried." in (await api.get("/dashboard?done=retried")).text


async def test_what_one_caller_sees_is_kept_in_no_cache(db: Database, serve: Serve) -> None:
    api = await serve(**SHARED)
    for path in ("/files", "/outbox/messages", "/metrics", "/dashboard/login", "/nowhere", "/health/ready"):
        for headers in ({}, bearer(ALICE)):
            assert (await api.get(path, headers=headers)).headers["Cache-Control"] == "no-store", path
    assert "Cache-Control" not in (await api.get("/dashboard/static/live.js")).headers


async def test_nobody_is_redirected_to_a_host_that_the_request_names(db: Database, serve: Serve) -> None:
    api = await serve(**SHARED)
    for path in ("/files/", "/files//", "/outbox/messages/", "/dashboard/", "/dashboard/login/", "/docs/"):
        answer = await api.get(path, headers={"Host": "evil.example"})
        assert "evil.example" not in answer.headers.get("Location", ""), path
        assert answer.status_code in (303, 404), path
    await api.post("/dashboard/login", data={"key": ALICE})
    assert (await api.get("/dashboard/")).status_code == 200
