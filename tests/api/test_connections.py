"""What comes before a body, and how long it may take: on the API and on the relay's probes, over real sockets."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient

from outbox import http11, schema
from outbox.connections import connect_mongo
from outbox.embedded import Mongod, RedisServer
from outbox.schema import Database, Document
from outbox.settings import OutboxSettings, load
from tests.api.connecting import FORM, Raw, Server, free_port, probed
from tests.api.serving import Api
from tests.relay.processes import RelayProcess
from tests.waiting import PATIENCE, eventually

MEGABYTE = 1024 * 1024
OFFERS = {
    "java": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "websocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eHh4\r\nSec-WebSocket-Version: 13",
    "unknown": "Connection: keep-alive, upgrade\r\nUpgrade: TLS/1.0, something/2",
}


def upload(*headers: str, length: bool = True) -> bytes:
    lines = ["POST /files HTTP/1.1", "Host: 127.0.0.1", "Content-Type: multipart/form-data; boundary=bb", *headers]
    lines += [f"Content-Length: {len(FORM)}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode()


# -- offers to upgrade


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("packets", ["one", "two", "many"])
def test_an_upload_with_an_offer_to_upgrade_is_read(offer: str, packets: str, shared: Server) -> None:
    with shared.connect() as raw:
        raw.send(upload(offer) + (FORM if packets == "one" else b""))
        if packets == "two":
            raw.send(FORM)
        elif packets == "many":
            for at in range(0, len(FORM), 7):
                raw.send(FORM[at : at + 7])
        assert raw.answer().status == 201
        # and the connection goes on as it was
        raw.send(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert raw.answer().json == {"status": "live"}
    assert "WebSocket" not in shared.log()


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_upload_in_chunks_with_an_offer_to_upgrade_is_read(offer: str, shared: Server) -> None:
    with shared.connect() as raw:
        raw.send(upload(offer, "Transfer-Encoding: chunked", length=False))
        for piece in (FORM[:40], FORM[40:]):
            raw.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        raw.send(b"0\r\n\r\n")
        assert raw.answer().status == 201


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_a_body_after_an_offer_is_never_a_request_of_its_own(offer: str, servers: Server) -> None:
    inner = b"DELETE /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with servers.connect() as raw:
        raw.send(servers.get(offer, f"Content-Length: {len(inner)}"))
        raw.send(inner)
        assert raw.answer().status == 200
        raw.send(servers.get())
        assert raw.answer().status == 200  # and not the inner one's 404 or 405


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_requests_that_follow_an_offer_are_answered_in_order(offer: str, servers: Server) -> None:
    with servers.connect() as raw:
        raw.send(servers.get(offer) + b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + servers.get(offer))
        assert [raw.answer().status for _ in range(3)] == [200, 404, 200]


def test_curl_uploads_with_http2_offered(shared: Server, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    form = ["-F", "folderId=f1", "-F", f"file=@{tmp_path / 'a.txt'}"]
    command = ["curl", "-s", "--http2", "-o", "/dev/null", "-w", "%{http_code}", *form, f"{shared.url}/files"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "201"


JAVA = """
import java.net.URI; import java.net.http.*; import java.nio.file.*;
public class Upload { public static void main(String[] a) throws Exception {
  var body = HttpRequest.BodyPublishers.ofFile(Path.of(a[1]));
  var request = HttpRequest.newBuilder(URI.create(a[0])).header("Content-Type", "multipart/form-data; boundary=bb");
  var client = HttpClient.newHttpClient();
  for (int i = 0; i < 2; i++)
    System.out.println(client.send(request.POST(body).build(), HttpResponse.BodyHandlers.ofString()).statusCode());
} }
"""


@pytest.mark.skipif(shutil.which("java") is None, reason="there is no java here")
def test_javas_default_client_uploads(shared: Server, tmp_path: Path) -> None:
    (tmp_path / "Upload.java").write_text(JAVA)
    (tmp_path / "form").write_bytes(FORM)
    command = ["java", str(tmp_path / "Upload.java"), f"{shared.url}/files", str(tmp_path / "form")]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout == "201\n201\n"


# -- one way to read where a request ends

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
        raw.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=bb\r\n".encode())
        raw.send(rest.encode())
        answer = raw.answer()
        assert answer.status in (400, 501)
        assert answer.headers["connection"] == "close"
        assert answer.json["status"] == answer.status
        assert raw.closed


LINES = {
    "bare LF": b"GET /health/live HTTP/1.1\nHost: x\n\n",
    "no version": b"GET /health/live\r\n\r\n",
    "a space in the path": b"GET /health /live HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab": b"GET\t/health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "no path": b"GET health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /health/live HTTP/1.1\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "lengths in HTTP/1.0": b"POST /health/live HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bytes beyond ASCII": "GET /ä HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_request_line_that_is_none_is_refused(line: bytes, shared: Server) -> None:
    with shared.connect() as raw:
        assert raw.send(line).answer().status == 400
        assert raw.closed


@pytest.mark.parametrize("version", ["PRI * HTTP/2.0", "GET / HTTP/9.9", "GET / HTTP/0.9"])
def test_another_version_of_http_is_named(version: str, shared: Server) -> None:
    with shared.connect() as raw:
        assert raw.send(f"{version}\r\nHost: x\r\n\r\n".encode()).answer().status == 505
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
    db = mongo[settings.mongodb_database]
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


# -- bounds before the body


_CHUNKED = b"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "one header": (b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"a" * 65536, 431),
    "many headers": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n" * 10000, 431),
    "empty headers": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"A:\r\n" * 10000, 431),
    "header names": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"A" * 65536, 431),
    "URL": (b"GET /", b"a" * 65536, 414),
    "query": (b"GET /?", b"a=b&" * 16384, 414),
    "method": (b"G", b"E" * 65536, 414),
    "trailers": (_CHUNKED + b"0\r\n", b"A: b\r\n" * 10000, 431),
    "one trailer": (_CHUNKED + b"0\r\nA:", b"a" * 65536, 431),
    "an extension": (_CHUNKED + b"1;", b"a" * 65536, 431),
    "extensions": (
        _CHUNKED,
        (b"1;" + b"a" * 1000 + b"\r\na\r\n") * 60,
        431,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOODS)
def test_memory_stays_flat_whatever_comes_before_a_body(name: str, servers: Server) -> None:
    head, block, status = FLOODS[name]
    head = head.replace(b"{path}", servers.path.encode())
    servers.warm()
    before = servers.memory()
    with servers.connect() as raw:
        raw.send(head)
        sent = raw.flood(block, 120 * MEGABYTE)
        peak = servers.memory()
        assert peak - before < 8 * MEGABYTE, f"{(peak - before) / MEGABYTE:.0f} MB more, after {sent} bytes"
        # It was answered long before, to a client that reads.
    with servers.connect() as raw:
        raw.send(head + block)
        answers = [raw.answer().status]
        if answers[0] != status:  # the method is refused first, and then what follows
            answers.append(raw.answer().status)
        assert answers[-1] == status
        assert raw.closed


def test_headers_within_the_bounds_pass(servers: Server) -> None:
    with servers.connect() as raw:
        raw.send(servers.get(*(f"X-{number}: {'a' * 100}" for number in range(150))))
        assert raw.answer().status == 200
        raw.send(servers.get(f"Cookie: {'a' * 16_000}"))
        assert raw.answer().status == 200


# -- time


def test_a_silent_connection_is_closed(servers: Server) -> None:
    with servers.connect() as raw:
        assert raw.seconds_until_closed() < (http11.HEAD_SECONDS + 3) * PATIENCE


def test_a_byte_at_a_time_is_not_for_ever(servers: Server) -> None:
    with servers.connect() as raw:
        request = iter(servers.get("A: b") * 100)
        raw.trickle(request, every=0.3)
        assert raw.answer().status == 408
        assert raw.closed


def test_the_rest_of_a_body_that_nobody_reads_is_not_for_ever(servers: Server) -> None:
    with servers.connect() as raw:
        raw.send(servers.get("Content-Length: 1000000000"))
        assert raw.answer().status == 200
        raw.trickle(iter(b"a" * 1000), every=0.3)
        assert raw.closed


def test_between_requests_a_connection_is_kept_for_a_while_and_then_closed(servers: Server) -> None:
    with servers.connect() as raw:
        for _ in range(3):
            assert raw.send(servers.get()).answer().status == 200
        assert raw.seconds_until_closed() < (http11.IDLE_SECONDS + 3) * PATIENCE


def test_many_silent_connections_end_no_upload(tmp_path: Path, outbox_settings: OutboxSettings, db: Database) -> None:
    command = ["/bin/sh", "-c", 'ulimit -n 256; exec "$0" "$@"']
    with LimitedApi(tmp_path, outbox_settings, command) as api, ExitStack() as stack:
        slow = stack.enter_context(Raw(api.port))
        slow.send(upload("X: first") + FORM[:60])
        for _ in range(300):
            stack.enter_context(Raw(api.port))
        with Raw(api.port) as raw:
            assert raw.send(upload() + FORM).answer().status == 201
        slow.send(FORM[60:])
        assert slow.answer().status == 201
        assert "Too many open files" not in api.output()


class LimitedApi(Api):
    """One that starts under limits of the system."""

    def __init__(self, folder: Path, settings: OutboxSettings, prefix: list[str]) -> None:
        super().__init__(folder, settings)
        self.command = [*prefix, *self.command]


def test_the_relay_answers_at_ipv6_addresses_too(settings: OutboxSettings, tmp_path: Path) -> None:
    port = free_port()
    process = RelayProcess(tmp_path / "relay.log", _environment(settings), "--host", "::", "--port", str(port))
    with probed(process, port) as server:
        for host in ("::1", "127.0.0.1"):
            with Raw(port, host) as raw:
                assert raw.send(server.get()).answer().status == 200
                # HEAD as well
                assert raw.send(server.get(method="HEAD")).answer(head=True).status == 200
                assert raw.send(server.get()).answer().status == 200


# -- the servers


def _environment(settings: OutboxSettings) -> dict[str, str]:
    return {
        "MONGODB_URI": settings.mongodb_uri.get_secret_value(),
        "MONGODB_DATABASE": settings.mongodb_database,
        "REDIS_URL": settings.redis_dsn,
    }


async def _set_up(settings: OutboxSettings) -> None:
    async with connect_mongo(settings) as client:
        await schema.ensure(client[settings.mongodb_database], settings.streams)


@pytest.fixture(scope="module")
def settings(mongod: Mongod, redis_server: RedisServer) -> OutboxSettings:
    mongod.start()
    redis_server.start()
    settings = load(
        OutboxSettings, mongodb_uri=mongod.uri, redis_url=redis_server.url, mongodb_database="test_connections"
    )
    asyncio.run(_set_up(settings))
    return settings


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, settings: OutboxSettings) -> Iterator[Server]:
    """One API for tests that only look at how it refuses."""
    with Api(tmp_path_factory.mktemp("api"), settings) as api:
        yield Server("api", api.port, api, "/health/live")


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, settings: OutboxSettings) -> Iterator[Server]:
    port = free_port()
    process = RelayProcess(tmp_path_factory.mktemp("relay") / "relay.log", _environment(settings), "--port", str(port))
    with probed(process, port) as server:
        yield server


@pytest.fixture(params=["api", "relay"])
def servers(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue("shared" if request.param == "api" else "relay")
    return found
