"""There is one way to read where a request ends: what can be read in two is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import AsyncMongoClient

from outbox.database import Database, Document
from outbox.settings import OutboxSettings
from tests.api.connecting import FORM, Server, upload
from tests.strategies import examples
from tests.waiting import eventually

OTHER_HOST = "urn:outbox:other-host"

SHAPES = {
    "two ways to say the length": "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "the same the other way round": "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "one length twice": "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": "Content-Length: 5, 5\r\n\r\nhello",
    "a length with a sign": "Content-Length: +5\r\n\r\nhello",
    "a negative length": "Content-Length: -5\r\n\r\nhello",
    "a length in hex": "Content-Length: 0x5\r\n\r\nhello",
    "a length without end": f"Content-Length: {'9' * 40}\r\n\r\nhello",
    "an empty length": "Content-Length:\r\n\r\nhello",
    "an unknown coding": "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a hidden coding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a chunk size that is none": "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "a chunk size with a sign": "Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with a prefix": "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with a space": "Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    "a chunk size beyond all numbers": "Transfer-Encoding: chunked\r\n\r\n" + "f" * 30 + "\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than it says": "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
    "a chunk ended by a bare LF": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
    "a chunk size ended by a bare LF": "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "a bare CR in an extension": "Transfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n",
    "a bare LF in an extension": "Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
    "trailers ended by a bare LF": "Transfer-Encoding: chunked\r\n\r\n0\r\n\n",
    "a bare LF in trailers": "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\nC: d\r\n\r\n",
    "a folded trailer": "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n",
    "a bare LF after a header": "A: b\nContent-Length: 5\r\n\r\nhello",
    "a bare LF at the end": "A: b\r\n\nGET / HTTP/1.1\r\n\r\n",
    "a bare CR in a header": "A: b\rC: d\r\n\r\n",
    "a folded header": "A: b\r\n c\r\n\r\n",
    "a folded length": "Content-Length:\r\n 5\r\n\r\nhello",
    "a space before the colon": "Content-Length : 5\r\n\r\nhello",
    "a tab before the colon": "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a line without a colon": "Content-Length\r\n\r\n",
    "a line without a name": ": 5\r\n\r\n",
    "a NUL in a header": "A: b\0c\r\n\r\n",
    "another host": "Host: other\r\n\r\n",
}


@pytest.mark.parametrize("rest", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("path", ["/files", "/health/live"])
def test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection(rest: str, path: str, shared: Server) -> None:
    with shared.connect() as raw:
        raw.send(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=bb\r\n".encode()
        )
        raw.send(rest.encode())
        answer = raw.answer()
        assert answer.status in (400, 501)
        assert answer.json["type"] != OTHER_HOST, "it was read, and refused for another reason"
        assert answer.headers["connection"] == "close"
        assert answer.json["status"] == answer.status
        assert raw.closed


LINES = {
    "bare LF": b"GET /health/live HTTP/1.1\nHost: 127.0.0.1\n\n",
    "no version": b"GET /health/live\r\n\r\n",
    "a space in the path": b"GET /health /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a tab": b"GET\t/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "no path": b"GET health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "no host": b"GET /health/live HTTP/1.1\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "lengths in HTTP/1.0": b"POST /health/live HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bytes beyond ASCII": "GET /ä HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(),
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_request_line_that_is_none_is_refused(line: bytes, shared: Server) -> None:
    with shared.connect() as raw:
        answer = raw.send(line).answer()
        assert answer.status == 400
        assert answer.json["type"] != OTHER_HOST, "it was read, and refused for another reason"
        assert raw.closed


@pytest.mark.parametrize("version", ["PRI * HTTP/2.0", "GET / HTTP/9.9", "GET / HTTP/0.9"])
def test_another_version_of_http_is_named(version: str, shared: Server) -> None:
    with shared.connect() as raw:
        assert raw.send(f"{version}\r\nHost: 127.0.0.1\r\n\r\n".encode()).answer().status == 505
        assert raw.closed


def test_an_absolute_target_is_read_as_its_path(shared: Server) -> None:
    with shared.connect() as raw:
        raw.send(b"GET http://127.0.0.1/health/live?a=b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert raw.answer().json == {"status": "live"}
        # its host counts: this API is open, and answers to its own names only
        raw.send(b"GET http://elsewhere.example/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert raw.answer().status == 400


def test_trailers_extensions_and_an_expectation_are_read(shared: Server) -> None:
    with shared.connect() as raw:
        raw.send(upload("Transfer-Encoding: chunked", "Trailer: X-Sum", "Expect: 100-continue", length=False))
        assert raw.answer().status == 100
        raw.send(b"%x;name=value\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(FORM), FORM))
        assert raw.answer().status == 201


async def test_a_body_that_breaks_leaves_nothing(
    shared: Server, settings: OutboxSettings, mongo: AsyncMongoClient[Document]
) -> None:
    db = Database(mongo, settings.mongodb_database)
    for name in ("files", "fs.files", "fs.chunks", "outbox"):
        await db[name].delete_many({})
    with shared.connect() as raw:
        raw.send(upload("Transfer-Encoding: chunked", length=False))
        raw.send(b"%x\r\n%b\r\n" % (len(FORM) - 10, FORM[:-10]))
        await eventually(lambda: db.files.find_one({}))
        raw.send(b"no size\r\n")
        assert raw.answer().status == 400
        assert raw.closed
    await eventually(lambda: _nothing(db))
    assert "Traceback" not in shared.log()


async def _nothing(db: Database) -> bool:
    return not any([await db[name].count_documents({}) for name in ("files", "fs.files", "fs.chunks", "outbox")])


RIGHT = (
    b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n",
    b"GET /healthz?a=b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n" * 2,
    upload() + FORM,
    upload("Transfer-Encoding: chunked", length=False) + b"%x;a=b\r\n%b\r\n0\r\nA: b\r\n\r\n" % (len(FORM), FORM),
)
TROUBLE = (
    b"", b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b":", b"\t", b"\xff", b"\x16\x03\x01\x02", b"A" * 9000, b"-1",
    b"9" * 30, b"%00", b"%", b"//", b"..", b"*", b"HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"--bb--\r\n",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n",
    b"Host: [::1\r\n",
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A right request, of which up to three parts are left out, doubled or replaced; or nothing of the kind."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=200))
    data = draw(st.sampled_from(RIGHT))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 20])))
        part = draw(st.sampled_from(TROUBLE) | st.just(data[start:end] * 2) | st.binary(max_size=5))
        data = data[:start] + part + data[end:]
    return data


@given(data=requests())
@examples(60)
def test_any_bytes_are_answered_by_less_than_500_or_closed(shared: Server, data: bytes) -> None:
    with shared.connect() as raw:
        statuses = raw.send(data).statuses()
    assert all(status < 500 or status in (501, 505) for status in statuses), statuses
    with shared.connect() as raw:
        assert raw.send(shared.get()).answer().status == 200
    assert "Traceback" not in shared.log()
