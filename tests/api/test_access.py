"""Who may do what: each route with each scope, without a key, and with no keys at all."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId

from outbox.database import Database
from outbox.settings import OutboxSettings, load
from outbox.web import keys
from outbox.web.keys import Scope
from outbox_api.app import create_app
from outbox_api.settings import ApiSettings
from tests.api.conftest import Serve
from tests.api.serving import Api

SECRETS = {scope: keys.make(scope.value, [scope]) for scope in Scope}
KEYS = " ".join(key.line for _, key in SECRETS.values())
OPEN = {"/health/live", "/health/ready", "/docs", "/openapi.json"}

ID = str(ObjectId())
NEEDED = {
    ("POST", "/files"): Scope.UPLOAD,
    ("PUT", "/files/reparse"): Scope.UPLOAD,
    ("GET", "/files"): Scope.READ,
    ("GET", "/files/{file_id}"): Scope.READ,
    ("GET", "/files/{file_id}/content"): Scope.READ,
    ("GET", "/queue"): Scope.READ,
    ("GET", "/outbox/stats"): Scope.READ,
    ("GET", "/outbox/messages"): Scope.READ,
    ("GET", "/outbox/messages/{message_id}"): Scope.READ,
    ("POST", "/outbox/messages/{message_id}/retry"): Scope.OPERATE,
    ("POST", "/outbox/replay"): Scope.OPERATE,
    ("GET", "/outbox/replays"): Scope.READ,
    ("GET", "/outbox/replays/{job_id}"): Scope.READ,
    ("POST", "/outbox/replays/{job_id}/cancel"): Scope.OPERATE,
    ("GET", "/outbox/streams/paused"): Scope.READ,
    ("POST", "/outbox/streams/{name}/pause"): Scope.OPERATE,
    ("POST", "/outbox/streams/{name}/resume"): Scope.OPERATE,
    ("GET", "/outbox/audit"): Scope.READ,
    ("GET", "/metrics"): Scope.READ,
}
BODIES: dict[str, Any] = {"/files/reparse": {"files_id": [ID], "folderId": "x"}, "/outbox/replay": {"ids": [ID]}}


def bearer(scope: Scope) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[scope][0]}"}


@pytest.fixture
async def api(db: Database, serve: Serve) -> httpx.AsyncClient:
    return await serve(api_keys=KEYS)


async def ask(api: httpx.AsyncClient, method: str, path: str, **headers: str) -> httpx.Response:
    return await api.request(method, re.sub(r"{\w+}", ID, path), headers=headers, json=BODIES.get(path))


def test_every_route_asks_for_a_scope_or_is_known_to_be_open() -> None:
    app = create_app(load(ApiSettings, api_keys=KEYS), load(OutboxSettings))
    told = app.openapi()
    for path, operations in told["paths"].items():
        for method, operation in operations.items():
            guarded = operation.get("security") == [{"key": []}]
            assert guarded != (path in OPEN), f"{method} {path}"
            assert not guarded or {"401", "403", "429"} <= operation["responses"].keys()
    assert told["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


@pytest.mark.parametrize(("route", "needed"), NEEDED.items(), ids=lambda value: "".join(value))
async def test_a_route_opens_to_its_scope_alone(api: httpx.AsyncClient, route: tuple[str, str], needed: Scope) -> None:
    answer = await ask(api, *route)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["type"] == "urn:outbox:not-authenticated"
    for scope in Scope:
        answer = await ask(api, *route, **bearer(scope))
        if scope is needed:
            assert answer.status_code not in (401, 403), scope
        else:
            assert answer.status_code == 403
            assert answer.json()["scope"] == needed
            assert f"`{needed}`" in answer.json()["detail"]


async def test_every_route_of_the_document_stands_in_the_table_above(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    told = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert {route for route in told if route[1] not in OPEN} == NEEDED.keys()


async def test_health_and_documentation_are_open(api: httpx.AsyncClient) -> None:
    for path in OPEN:
        assert (await api.get(path)).status_code == 200, path


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {SECRETS[Scope.READ][0]}", SECRETS[Scope.READ][0],
     f"Bearer {SECRETS[Scope.READ][1].digest}", f"Bearer {SECRETS[Scope.READ][0]}x"],
    ids=["nothing", "no key", "empty", "another key", "another scheme", "no scheme", "its hash", "one letter more"],
)  # fmt: skip
async def test_what_is_no_key_opens_nothing(api: httpx.AsyncClient, authorization: str) -> None:
    answer = await ask(api, "GET", "/files", Authorization=authorization)
    assert answer.status_code == 401
    assert SECRETS[Scope.READ][0] not in answer.text


async def test_two_keys_of_one_holder_are_valid_at_once(db: Database, serve: Serve) -> None:
    old, new = keys.make("alice", [Scope.READ]), keys.make("alice", [Scope.READ])
    both = await serve(api_keys=f"{old[1].line} {new[1].line}")
    later = await serve(api_keys=new[1].line)
    for secret, there, then in ((old[0], 200, 401), (new[0], 200, 200)):
        headers = {"Authorization": f"Bearer {secret}"}
        assert (await both.get("/files", headers=headers)).status_code == there
        assert (await later.get("/files", headers=headers)).status_code == then


async def test_a_key_has_its_share_and_no_more(db: Database, serve: Serve) -> None:
    other_secret, other = keys.make("other", [Scope.READ])
    api = await serve(api_keys=f"{KEYS} {other.line}", api_rate_limit="3/day")  # whose end hardly comes meanwhile
    statuses = [(await api.get("/files", headers=bearer(Scope.READ))).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    refused = await api.get("/files", headers=bearer(Scope.READ))
    assert 1 <= int(refused.headers["Retry-After"]) <= 86_401
    assert refused.json()["type"] == "urn:outbox:too-many-requests"
    assert (await api.get("/files", headers={"Authorization": f"Bearer {other_secret}"})).status_code == 200


@pytest.mark.parametrize("route", ["PUT /files/reparse", "POST /outbox/replay", "POST /files"])
async def test_who_has_no_key_is_refused_before_the_body_is_read(
    tmp_path: Path, outbox_settings: OutboxSettings, db: Database, route: str
) -> None:
    """The answer comes while the body is still awaited: only its head has been sent."""
    with Api(tmp_path, outbox_settings, OUTBOX_API_KEYS=KEYS) as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        head = f"{route} HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(10):
            assert (await reader.readline()).split()[1] == b"401"
        writer.close()
        await writer.wait_closed()


async def test_pages_of_other_sites_cannot_use_an_open_door(api: httpx.AsyncClient, serve: Serve) -> None:
    """Without keys, a page in a browser on this machine could post to us: the browser says who asks."""
    door = await serve()
    path = f"/outbox/messages/{ID}/retry"
    for theirs in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        answer = await door.post(path, headers=theirs)
        assert answer.status_code == 403, theirs
        assert answer.json()["type"] == "urn:outbox:from-another-site"
    for ours in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://api"}):
        assert (await door.post(path, headers=ours)).status_code == 404, ours
    # With keys, a browser has none to lend.
    answer = await api.post(path, headers={"Sec-Fetch-Site": "cross-site", **bearer(Scope.OPERATE)})
    assert answer.status_code == 404


def test_an_open_door_answers_to_its_own_names_only(
    tmp_path: Path, outbox_settings: OutboxSettings, db: Database
) -> None:
    """A page can have its own name lead to this machine; the browser then takes us for a part of its site."""
    with Api(tmp_path, outbox_settings) as api:
        for host in (f"127.0.0.1:{api.port}", f"localhost:{api.port}", "[::1]:80"):
            assert httpx.get(f"{api.url}/files", headers={"Host": host}, timeout=60).status_code == 200, host
        others = ("evil.example", "localhost.evil.example", "[::1].evil", "x@localhost", "")
        for host in (f"evil.example:{api.port}", *others):
            answer = httpx.get(f"{api.url}/files", headers={"Host": host}, timeout=60)
            assert (answer.status_code, answer.json()["type"]) == (400, "urn:outbox:other-host"), host
            assert "OUTBOX_API_KEYS" in answer.json()["detail"]
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["x-frame-options"] == "DENY"
        counted = httpx.get(f"{api.url}/metrics", timeout=60).text
        assert 'api_requests_total{method="none",route="none",status="400"} 6.0' in counted
    with Api(tmp_path, outbox_settings, OUTBOX_API_KEYS=KEYS) as api:
        headers = {"Host": "files.example", **bearer(Scope.READ)}
        assert httpx.get(f"{api.url}/files", headers=headers, timeout=60).status_code == 200


async def test_the_document_of_an_open_door_speaks_of_no_keys(serve: Serve, db: Database) -> None:
    told = (await (await serve()).get("/openapi.json")).text
    assert '"security"' not in told
    assert "securitySchemes" not in told


async def test_no_answer_lets_a_browser_do_more_than_it_needs(api: httpx.AsyncClient) -> None:
    for path in ("/files", "/health/live", "/nowhere", "/docs", "/docs/static/start.js"):
        headers = (await api.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "script-src 'self' 'unsafe" not in headers["Content-Security-Policy"]


async def test_the_page_of_the_document_loads_nothing_from_elsewhere(api: httpx.AsyncClient) -> None:
    page = (await api.get("/docs")).text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(loaded) == 4
    for address in loaded:
        assert "//" not in address
        if not address.startswith("data:"):
            assert (await api.get(f"/{address}")).status_code == 200
    assert "<script>" not in page


def test_the_network_is_not_let_in_without_a_key(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> None:
    refused = Api(tmp_path, outbox_settings, "--host", "0.0.0.0")
    run = subprocess.run(refused.command, env=refused.env, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 2
    assert "OUTBOX_API_OPEN_TO_ALL=true" in run.stderr
    for told in ({"OUTBOX_API_OPEN_TO_ALL": "true"}, {"OUTBOX_API_KEYS": KEYS}):
        with Api(tmp_path, outbox_settings, "--host", "0.0.0.0", **told) as api:
            assert api.running
