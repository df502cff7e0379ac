"""HTTP/1.1 for every process that listens: uvicorn on h11, stricter than both, and bounded before a body.

An offer to upgrade (`Upgrade: h2c`) is ignored, and the body read. Uvicorn's other parser, httptools, takes a body for
the beginning of another protocol, and then for a request of its own.

===============================  ======================================================================================
request line, all header lines   `MAX_LINE` and `MAX_HEAD` bytes, `MAX_HEADERS` lines: 414, 431
trailers, extensions of chunks   `MAX_HEAD` and `MAX_LINE` bytes: 431
a head that is not complete      408, `HEAD_SECONDS` after the connection or its first byte
between requests                 closed after `IDLE_SECONDS`
a client that does not read      cut off after `WRITE_SECONDS` without progress
connections of a process         `max_connections()`: a new one ends the one idle longest, or one without a known caller
                                 that keeps us waiting; 503 when there is none
what can be read in two ways     400: both kinds of length, two lengths, bare LF or CR, folded lines, a space before a
                                 colon
===============================  ======================================================================================
"""

from __future__ import annotations

import asyncio
import json
import re
from http import HTTPStatus
from typing import Any

import h11
from h11._receivebuffer import ReceiveBuffer
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from outbox.web.listening import max_connections

MAX_LINE = 16 * 1024
MAX_HEAD = 32 * 1024
MAX_HEADERS = 200
HEAD_SECONDS = 10.0
IDLE_SECONDS = 5
WRITE_SECONDS = 60.0
LINGER_SECONDS = 3.0
"""How long a refused client may go on sending: closed at once, it would be reset before it reads why."""

CALLER = "caller"
"""Where the state of a request says whose it is, once that is known."""

_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\r(?!\n)|\r\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""What some servers take for the end or the continuation of a line and others do not; and other control characters."""

_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,16}(?:;[^\r\n]*)?\r\n")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([^#]*)", re.IGNORECASE)


def _refuse(text: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> h11.RemoteProtocolError:
    return h11.RemoteProtocolError(text, error_status_hint=status)


class StrictLines(ReceiveBuffer):
    """The bytes that came, of which lines are only read when there is one way to read them."""

    def __init__(self) -> None:
        super().__init__()
        self._in_body = False
        self._extensions = 0

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """The lines of a head, or of the trailers after a body in chunks."""
        if self._data[:2] == b"\r\n":
            end = 0
        else:
            end = self._data.find(b"\r\n\r\n", max(0, self._multiple_lines_search - 3), MAX_HEAD)
        # Of what is not complete yet, the last byte may be the first half of an end of line.
        self._check(end if end >= 0 else min(len(self._data), MAX_HEAD) - self._data.endswith(b"\r"))
        if end < 0:
            self._multiple_lines_search = len(self._data)
            return None
        lines = self._extract(end + 4)[:end].split(b"\r\n") if end else self._extract(2)[:0].split()
        lengths = [line for line in lines if line[:15].lower() == b"content-length:"]
        if len(lengths) > 1 or any(b"," in line for line in lengths):
            raise _refuse("there is more than one Content-Length")
        self._in_body, self._extensions = False, 0
        return lines

    def maybe_extract_next_line(self) -> bytearray | None:
        """The line before a chunk."""
        self._in_body = True
        line = super().maybe_extract_next_line()
        if line is None:
            if len(self._data) > MAX_LINE:
                raise _refuse("the line before a chunk is too long", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return None
        if not _CHUNK.fullmatch(line):
            raise _refuse("the line before a chunk is not its size")
        self._extensions += len(line.partition(b";")[2])
        if self._extensions > MAX_LINE:
            raise _refuse("the extensions of chunks are too long", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return line

    def maybe_extract_at_most(self, count: int) -> bytearray | None:
        """Some of a body. All that there is goes as it is: to copy it would halve the speed of an upload."""
        if not 0 < len(self._data) <= count:
            return super().maybe_extract_at_most(count)
        data, self._data = self._data, bytearray()
        return data

    def _check(self, end: int) -> None:
        first = self._data.find(b"\r\n", 0, end)
        if (end if first < 0 else first) > MAX_LINE and not self._in_body:
            raise _refuse(f"the request line is longer than {MAX_LINE} bytes", HTTPStatus.REQUEST_URI_TOO_LONG)
        if end >= MAX_HEAD - 4 or self._data.count(b"\n", 0, end) > MAX_HEADERS:
            text = f"the headers are longer than {MAX_HEAD} bytes, or more than {MAX_HEADERS}"
            raise _refuse(text, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if _AMBIGUOUS.search(self._data, max(0, self._multiple_lines_search - 2), end):
            raise _refuse("a line ends or goes on in a way that can be read in two ways")


class Connection(h11.Connection):
    """h11's rules for a server, and ours on top."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD)
        self._receive_buffer = StrictLines()
        self.fault: h11.RemoteProtocolError | None = None

    @property
    def has_begun(self) -> bool:
        """Whether some of the next request has come."""
        return bool(self._receive_buffer)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            event = super().next_event()
            return self._checked(event) if isinstance(event, h11.Request) else event
        except h11.RemoteProtocolError as error:
            self.fault = error
            raise

    def _checked(self, request: h11.Request) -> h11.Request:
        if request.http_version not in (b"1.0", b"1.1"):
            raise _refuse("this speaks HTTP/1.1", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        names = {name for name, _ in request.headers}
        if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
            raise _refuse("Transfer-Encoding does not go with Content-Length, nor with HTTP/1.0")
        if request.target[:1] == b"/" or (request.target == b"*" and request.method == b"OPTIONS"):
            return request
        absolute = _ABSOLUTE.fullmatch(request.target)
        if absolute is None or request.method == b"CONNECT":
            raise _refuse("the request line names no path")
        # As a client sends it to a proxy. Its host counts, and not that of the header (RFC 9112, 3.2.2).
        host, target = absolute.groups()
        headers = [(b"host", host), *((name, value) for name, value in request.headers if name != b"host")]
        target = target if target[:1] == b"/" else b"/" + target
        return h11.Request(
            method=request.method, target=target, headers=headers, http_version=request.http_version
        )  # fmt: skip


class Http(H11Protocol):
    """One connection. For uvicorn's `http`."""

    conn: Connection

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = Connection()
        self.timeout_keep_alive = IDLE_SECONDS
        self._waiting: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._refused = False
        self._since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > max_connections() and not self._make_room():
            self._end(HTTPStatus.SERVICE_UNAVAILABLE, "there are too many connections")
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._waiting, self._writing):
            if timer:
                timer.cancel()
        # A connection may be lost while the idle time runs, and uvicorn's timer would keep all of it until then.
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self._writing or self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing:
            self._writing.cancel()
            self._writing = None

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when `conn` has refused what came."""
        fault = self.conn.fault
        status = HTTPStatus(fault.error_status_hint) if fault else HTTPStatus.BAD_REQUEST
        self._end(status, str(fault or msg))

    def shutdown(self) -> None:
        if self._refused:
            self.transport.abort()
        else:
            super().shutdown()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is lost with it: no request is under way, or one that has been answered before its end, or
        one of nobody known whose body does not come, or who does not read.
        """
        if self._refused or self.conn.their_state is h11.IDLE or self.cycle is None:
            return True
        sends, known = self.conn.their_state is h11.SEND_BODY, CALLER in self.cycle.scope["state"]
        return (sends and self.cycle.response_started) or (not known and (sends or self._writing is not None))

    def _make_room(self) -> bool:
        """Close the connection that has been idle longest."""
        idle = [
            one
            for one in self.connections
            if isinstance(one, Http) and one is not self and one.is_idle and not one.transport.is_closing()
        ]
        if not idle:
            return False
        min(idle, key=lambda one: one._since).transport.abort()
        return True

    def _watch(self) -> None:
        """Time runs while a head is not complete, or a body of which nobody waits for the rest."""
        if self._refused or self.transport.is_closing():
            return
        late = self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None
        late = late or (self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY)
        if late and self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_SECONDS, self._late)
        elif not late and self._waiting:
            self._waiting.cancel()
            self._waiting = None

    def _late(self) -> None:
        if self.conn.their_state is h11.IDLE and self.conn.has_begun:
            self._end(HTTPStatus.REQUEST_TIMEOUT, f"the headers were not complete in {HEAD_SECONDS:g} s")
        else:
            self.transport.close()

    def _end(self, status: HTTPStatus, detail: str) -> None:
        """Answer, if nothing has been answered yet; take nothing in any more, and close."""
        self._refused = True
        self._unset_keepalive_if_required()
        if self.cycle is not None and not self.cycle.response_complete:
            answered = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        else:
            answered = False
        if answered:
            self.transport.abort()
            return
        title = status.phrase
        problem = json.dumps({"type": "about:blank", "title": title, "status": int(status), "detail": detail})
        self.transport.write(
            f"HTTP/1.1 {int(status)} {title}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(problem)}\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
            f"{problem}".encode()
        )
        self.transport.write_eof()
        self.flow.resume_reading()
        self._waiting = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: an offer may be ignored, and some clients make it with every request."""
