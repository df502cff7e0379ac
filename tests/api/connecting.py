"""Raw HTTP/1.1 over real sockets: what a client library would never send."""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil

from outbox.embedded import ports
from outbox.settings import OutboxSettings
from tests.api.serving import Api
from tests.relay.processes import RelayProcess
from tests.waiting import PATIENCE

FORM = (
    b'--bb\r\nContent-Disposition: form-data; name="folderId"\r\n\r\nf1\r\n'
    b'--bb\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
    b"hello\r\n--bb--\r\n"
)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Raw:
    """One connection."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), timeout=20 * PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def send(self, data: bytes) -> Raw:
        self._socket.sendall(data)
        return self

    def flood(self, block: bytes, total: int) -> int:
        """Send `block` until `total` bytes are sent, or the server takes no more; how many it took."""
        sent = 0
        with suppress(OSError):
            while sent < total:
                self._socket.sendall(block)
                sent += len(block)
        return sent

    def trickle(self, data: Iterator[int], every: float) -> None:
        """Send a byte from time to time, until the server says something or closes."""
        with suppress(OSError):
            while not select.select([self._socket], [], [], every)[0]:
                self._socket.sendall(bytes([next(data)]))

    def wait(self) -> None:
        """Until the server says something, or closes."""
        if not select.select([self._socket], [], [], 20 * PATIENCE)[0]:
            raise TimeoutError

    def answer(self, *, head: bool = False) -> Answer:
        """The next answer; for a HEAD request without looking for a body."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        top, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        body = b""
        if "content-length" in headers and not head and status >= 200:
            size = int(headers["content-length"])
            while len(self._rest) < size:
                self._more()
            body, self._rest = self._rest[:size], self._rest[size:]
        return Answer(status, headers, body)

    def _more(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError(f"closed, after {self._rest[:200]!r}")
        self._rest += data

    @property
    def closed(self) -> bool:
        """Waits until the server has closed; False when it sends something instead, or keeps the connection."""
        if self._rest:
            return False
        try:
            return not self._socket.recv(1)
        except TimeoutError:
            return False
        except OSError:
            return True

    def statuses(self) -> list[int]:
        """Of all answers until the server closes, which has nothing more to wait for."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while data := self._socket.recv(65536):
                self._rest += data
        return [int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d{3})", self._rest, re.MULTILINE)]

    def seconds_until_closed(self) -> float:
        started = time.monotonic()
        assert self.closed
        return time.monotonic() - started

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Server:
    """The API or the relay's probes, as a port that speaks HTTP."""

    name: str
    port: int
    process: Api | RelayProcess
    path: str
    """Something that it answers with 200 to anybody."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> Raw:
        return Raw(self.port)

    def get(self, *headers: str, method: str = "GET") -> bytes:
        lines = [f"{method} {self.path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def warm(self) -> None:
        """Let it allocate what it allocates once."""
        for _ in range(5):
            with self.connect() as raw:
                raw.send(self.get(f"Cookie: {'a' * 16_000}"))
                raw.answer()

    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def log(self) -> str:
        return self.process.output() if isinstance(self.process, Api) else self.process.text()


@contextmanager
def probed(relay: RelayProcess, port: int) -> Iterator[Server]:
    relay.start()
    try:
        relay.started()
        yield Server("relay", port, relay, "/healthz")
    finally:
        relay.kill()


def free_port() -> int:
    return ports.pick("127.0.0.1")


def upload(*headers: str, length: bool = True) -> bytes:
    lines = ["POST /files HTTP/1.1", "Host: 127.0.0.1", "Content-Type: multipart/form-data; boundary=bb", *headers]
    lines += [f"Content-Length: {len(FORM)}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode()


def environment(settings: OutboxSettings) -> dict[str, str]:
    """What a process needs to find these servers."""
    return {
        "MONGODB_URI": settings.mongodb_uri.get_secret_value(),
        "MONGODB_DATABASE": settings.mongodb_database,
        "REDIS_URL": settings.redis_dsn,
    }
