"""Workers that know nothing of the outbox: they read a group, work, and acknowledge. They speak bytes and err."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from outbox.embedded import RedisServer
from tests.faults.explorer.payloads import contents
from tests.waiting import pass_by

MANNERS = ["careful", "forgets to acknowledge", "dies before its work", "dies after its work", "slow", "holds for ever"]


class _Died(Exception):
    pass


class PlainWorker:
    """One consumer of a group; it starts again under its name when it has died."""

    def __init__(
        self, name: str, stream: str, group: str, server: Callable[[], RedisServer],
        handled: Callable[[str, str], None], dice: random.Random, *, looks_back: bool,
    ) -> None:  # fmt: skip
        """:param looks_back: it reads what it holds already when it starts; many do not."""
        self.name = name
        self.consumer = name.encode() + b"\xff"  # which is no text
        self.manner = "careful"
        self.away = False
        """It takes nothing more until it is back."""
        self.busy = False
        """It may be given something just now, or works on it."""
        self._stream, self._group = stream, group
        self._server, self._handled = server, handled
        self._dice = dice
        self._looks_back = looks_back

    async def run(self) -> None:
        """Until it is cancelled."""
        while not _is_cancelled():
            server = self._server()
            client: Any = Redis(
                host=server.host, port=server.port, socket_timeout=1, socket_connect_timeout=1,
                retry=Retry(NoBackoff(), 0),
            )  # fmt: skip
            try:
                async with client:
                    await self._live(client)
            except (_Died, RedisError, OSError):
                await pass_by(0.2)

    async def _live(self, client: Any) -> None:
        place = "0" if self._looks_back else ">"
        while not _is_cancelled():
            if self.away:
                await pass_by(0.1)
                continue
            self.busy = True
            try:
                place = await self._take(client, place)
            finally:
                self.busy = False

    async def _take(self, client: Any, place: str) -> str:
        """A few entries from `place` on; returns where to go on."""
        answer = await client.xreadgroup(self._group, self.consumer, {self._stream: place}, count=3, block=200)
        entries = answer[0][1] if answer else []
        if not entries:
            place = ">"
        for id_, fields in entries:
            await self._work(client, id_, fields)
            if place != ">":
                place = id_.decode()
        return place

    async def _work(self, client: Any, id_: bytes, fields: dict[bytes, bytes] | None) -> None:
        manner = self.manner if self._dice.random() < 0.5 else "careful"
        if manner == "dies before its work":
            raise _Died
        if manner == "holds for ever":
            return
        if manner == "slow":
            await pass_by(self._dice.uniform(0, 2))
        if fields and b"message_id" in fields:
            self._handled(fields[b"message_id"].decode(), contents(fields))
        if manner == "dies after its work":
            raise _Died
        if manner != "forgets to acknowledge":
            await client.xack(self._stream, self._group, id_)


def _is_cancelled() -> bool:
    """Asked each time: redis-py may swallow a cancellation that comes while a connection is lost or made."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
