"""A TCP proxy whose network can be made bad while connections are open."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Self

from tests.listener import Listener

CHUNK = 64 * 1024
PIECES = 500
"""A reply of 64 KB in pieces of one byte would be a test of how fast the machine is."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset."""


class Way(Enum):
    """What happens to a request that a rule picks."""

    LOSE_THE_REPLY = "the server gets it, and the connection breaks before its reply"
    HOLD = "it stays in the network, and is delivered when somebody says so, whether or not the sender still waits"
    HOLD_THE_REPLY = "the server gets it, and its reply stays in the network"
    ANSWER = "the server does not get it; the proxy answers in its place"


@dataclass
class Rule:
    """Picks requests that contain `text`, the first `times` of them."""

    way: Way
    text: bytes
    times: int = 1
    answer: bytes = b""
    picked: int = 0

    def picks(self, request: bytes) -> bool:
        if self.picked >= self.times or self.text.lower() not in request.lower():
            return False
        self.picked += 1
        return True


class Proxy:
    """Forwards to `target`, over networks of any kind.

    A request is taken for what arrives in one piece, which holds for clients that wait for a reply before they send
    again. Everything may be changed while connections are open.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        """Where new connections lead."""
        self.latency = 0.0
        """Seconds by which every reply is late."""
        self.bytewise = False
        """Replies come one byte at a time; those of more than `PIECES` bytes in about so many pieces."""
        self.silent = False
        """Half-open: connections are accepted and stay, and nothing comes through."""
        self.refusing = False
        """New connections are reset."""
        self.rules: list[Rule] = []
        self.held: list[Callable[[], None]] = []
        self.accepted = 0
        self._links: set[Link] = set()
        self._listener = Listener(self._forward)

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def rule(self, way: Way, text: bytes = b"", *, times: int = 1, answer: bytes = b"") -> Rule:
        """Let the next `times` requests that contain `text` meet this fate."""
        made = Rule(way, text, times, answer)
        self.rules.append(made)
        return made

    def release(self) -> None:
        """Deliver what is held, in the order in which it was sent."""
        held, self.held = self.held, []
        for deliver in held:
            deliver()

    def reset(self) -> None:
        """Break all open connections, as a machine does that was restarted: with a reset."""
        for link in list(self._links):
            link.reset()

    def cut(self) -> None:
        """Break what is open, and refuse what is new, until `heal`."""
        self.refusing = True
        self.reset()

    def heal(self) -> None:
        """A good network again. What was open while it was silent is reset, as a router does that forgot it."""
        if self.silent:
            self.reset()
        self.latency, self.bytewise, self.silent, self.refusing = 0.0, False, False, False
        self.rules.clear()

    def lead_to(self, target: tuple[str, int]) -> None:
        """Fail over: open connections break, and new ones lead there."""
        self.target = target
        self.reset()

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.reset()
        await self._listener.__aexit__()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refusing:
            _reset(writer)
            return
        try:
            onward = await asyncio.open_connection(*self.target, limit=CHUNK)
        except OSError:
            _reset(writer)
            return
        link = Link(self, (reader, writer), onward)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, client: Side, server: Side) -> None:
        self._proxy = proxy
        self._client, self._client_writer = client
        self._server, self._server_writer = server
        self._losing = self._holding = self._holding_replies = False
        self._due = 0.0
        self._holds = 0

    def reset(self) -> None:
        _reset(self._client_writer)
        _reset(self._server_writer)

    async def run(self) -> None:
        try:
            await asyncio.gather(self._requests(), self._replies())
        finally:
            self.reset()

    async def _requests(self) -> None:
        while chunk := await _read(self._client):
            rule = next((rule for rule in self._proxy.rules if rule.picks(chunk)), None)
            if self._proxy.silent:
                continue
            if self._holding or (rule and rule.way is Way.HOLD):
                # What was sent after it cannot overtake it.
                self._holding = True
                self._hold(self._server_writer, chunk)
                continue
            match rule.way if rule else None:
                case Way.ANSWER if rule:
                    self._client_writer.write(rule.answer * _commands(chunk))
                    continue
                case Way.LOSE_THE_REPLY:
                    self._losing = True
                case Way.HOLD_THE_REPLY:
                    self._holding_replies = True
            self._server_writer.write(chunk)
            await _drain(self._server_writer)
        if not self._holds:
            # A client that hangs up does not recall what is on its way.
            _reset(self._server_writer)

    async def _replies(self) -> None:
        while chunk := await _read(self._server):
            if self._losing:
                break
            if self._proxy.silent:
                continue
            if self._holding_replies:
                self._hold(self._client_writer, chunk)
                continue
            await self._reply(chunk)
        _reset(self._client_writer)
        _reset(self._server_writer)

    async def _reply(self, chunk: bytes) -> None:
        loop = asyncio.get_running_loop()
        # Never before what came earlier, when the latency is changed meanwhile.
        self._due = max(self._due, loop.time() + self._proxy.latency)
        if self._due > loop.time():
            loop.call_at(self._due, self._write, self._client_writer, chunk)
            return
        if self._proxy.bytewise:
            size = 1 + len(chunk) // PIECES
            for place in range(0, len(chunk), size):
                self._write(self._client_writer, chunk[place : place + size])
                await asyncio.sleep(0)
            return
        self._write(self._client_writer, chunk)
        await _drain(self._client_writer)

    def _hold(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        self._holds += 1

        def deliver() -> None:
            self._holds -= 1
            self._holding = self._holding_replies = False
            self._write(writer, chunk)
            if self._client.at_eof() and not self._holds:
                writer.close()  # once it is written

        self._proxy.held.append(deliver)

    @staticmethod
    def _write(writer: asyncio.StreamWriter, chunk: bytes) -> None:
        if not writer.is_closing():
            writer.write(chunk)


def _commands(chunk: bytes) -> int:
    """How many commands a Redis client has sent in one piece: each asks for one answer."""
    count, rest = 0, chunk
    while rest.startswith(b"*"):
        head, _, rest = rest.partition(b"\r\n")
        for _ in range(int(head[1:])):
            size, _, rest = rest.partition(b"\r\n")
            rest = rest[int(size[1:]) + 2 :]
        count += 1
    return count


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(CHUNK)
    except OSError:
        return b""


async def _drain(writer: asyncio.StreamWriter) -> None:
    try:
        await writer.drain()
    except OSError:
        writer.close()  # the reader of this side hears of it as well


def _reset(writer: asyncio.StreamWriter) -> None:
    if writer.transport.is_closing():
        return
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
