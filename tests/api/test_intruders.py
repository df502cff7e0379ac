"""As an attacker would: headers that lie or make no sense, links that say what we do not, hosts that are not ours."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.database import Database
from outbox.settings import OutboxSettings
from tests.api.callers import ALICE, PROCESS, SHARED, bearer
from tests.api.conftest import Serve
from tests.api.serving import Api
from tests.strategies import examples
from tests.waiting import PATIENCE

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
        Api(tmp_path / "locked", outbox_settings, **PROCESS, OUTBOX_API_TRUSTED_PROXIES="127.0.0.0/8") as locked,
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
    with socket.create_connection(("127.0.0.1", api.port), timeout=20 * PATIENCE) as connection:
        connection.sendall(head + body)
        answer = b""
        while b"\r\n" not in answer and (data := connection.recv(4096)):
            answer += data
    return int(answer.split()[1])


VALUES = st.sampled_from(ODD).map(lambda text: text.encode("utf-8")) | st.binary(max_size=60).map(
    lambda raw: re.sub(rb"[\r\n\0]", b"", raw)
)


def test_no_header_makes_an_answer_5xx(apis: list[Api]) -> None:
    @examples(250)
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
    text = httpx.get(f"{api.url}/metrics", timeout=60).text
    return sum(float(n) for n in re.findall(rf'^api_requests_total{{.*status="{status}"}} (\S+)$', text, re.MULTILINE))


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
