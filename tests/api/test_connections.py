"""What comes before a body, and how long it may take: on the API and on the relay's probes, over real sockets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, repeat
from pathlib import Path

import pytest

from outbox.database import Database
from outbox.settings import OutboxSettings
from outbox.web import http11
from tests.api.callers import ALICE, PROCESS
from tests.api.connecting import FORM, Raw, Server, environment, free_port, probed, upload
from tests.api.serving import Api
from tests.relay.processes import RelayProcess
from tests.waiting import PATIENCE

MEGABYTE = 1024 * 1024


# -- bounds before the body


_CHUNKED = b"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "one header": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: ", b"a" * 65536, 431),
    "many headers": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"A: b\r\n" * 10000, 431),
    "empty headers": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"A:\r\n" * 10000, 431),
    "header names": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"A" * 65536, 431),
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


def test_a_path_with_a_slash_too_many_leads_nowhere_else(servers: Server) -> None:
    with servers.connect() as raw:
        raw.send(f"GET {servers.path}/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert raw.answer().status == 404


# -- time


def test_no_connection_is_kept_for_ever(servers: Server) -> None:
    """All at once: each of them waits."""
    with ThreadPoolExecutor() as pool:
        waiting = [
            pool.submit(one, servers) for one in (_silent, _a_byte_at_a_time, _a_body_not_read, _between_requests)
        ]
    for one in waiting:
        one.result()


def _silent(servers: Server) -> None:
    with servers.connect() as raw:
        assert raw.seconds_until_closed() < (http11.HEAD_SECONDS + 3) * PATIENCE


def _a_byte_at_a_time(servers: Server) -> None:
    with servers.connect() as raw:
        raw.trickle(chain(servers.get("A: b")[:-4], repeat(ord("b"))), every=0.3)  # there is no end that comes in time
        assert raw.answer().status == 408
        assert raw.closed


def _a_body_not_read(servers: Server) -> None:
    with servers.connect() as raw:
        raw.send(servers.get("Content-Length: 1000000000"))
        assert raw.answer().status == 200
        raw.trickle(iter(b"a" * 1000), every=0.3)
        assert raw.closed


def _between_requests(servers: Server) -> None:
    """It is kept for a while, and then closed."""
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


@pytest.mark.parametrize("begun", ["a login", "a file that is not read"])
def test_whoever_has_no_key_keeps_nobody_else_out(
    begun: str, tmp_path: Path, outbox_settings: OutboxSettings, db: Database
) -> None:
    """By a login that never comes to its end, or by a large answer that is never read."""
    login = b"POST /dashboard/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nkey=a"
    unread = b"GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    command = ["/bin/sh", "-c", 'ulimit -n 256; exec "$0" "$@"']
    with LimitedApi(tmp_path, outbox_settings, command, **PROCESS) as api, ExitStack() as stack:
        mine = f"Authorization: Bearer {ALICE}"
        slow = stack.enter_context(Raw(api.port))
        slow.send(upload(mine, "X: first") + FORM[:60])
        for _ in range(127):  # with the first, as many as it may hold: half of its files
            raw = stack.enter_context(Raw(api.port))
            raw.send(login if begun == "a login" else unread)
        with Raw(api.port) as raw:
            assert raw.send(upload(mine) + FORM).answer().status == 201
        slow.send(FORM[60:])
        assert slow.answer().status == 201


class LimitedApi(Api):
    """One that starts under limits of the system."""

    def __init__(self, folder: Path, settings: OutboxSettings, prefix: list[str], **overrides: str) -> None:
        super().__init__(folder, settings, **overrides)
        self.command = [*prefix, *self.command]


def test_the_relay_answers_at_ipv6_addresses_too(settings: OutboxSettings, tmp_path: Path) -> None:
    port = free_port()
    process = RelayProcess(tmp_path / "relay.log", environment(settings), "--host", "::", "--port", str(port))
    with probed(process, port) as server:
        for host in ("::1", "127.0.0.1"):
            with Raw(port, host) as raw:
                assert raw.send(server.get()).answer().status == 200
                # HEAD as well
                assert raw.send(server.get(method="HEAD")).answer(head=True).status == 200
                assert raw.send(server.get()).answer().status == 200
