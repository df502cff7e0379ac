"""Checkpoints: what Redis itself knows of a partition, kept beside the stream and changed by scripts only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

from bson import ObjectId
from redis.exceptions import NoScriptError

from outbox.confirmation import Confirm
from outbox.message import Message
from outbox.streams import Partition, Streams, checkpoint_key
from outbox.topology import AnyRedis


@dataclass(frozen=True, slots=True)
class Sent:
    """A message and the attempt under which it stands in the stream."""

    id: ObjectId
    attempt: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint as it was found: the last batch's number, tag and messages, and the tag of the batch before.

    `behind`: the stream was deleted or replaced, although the checkpoint is there.
    """

    batch: int
    tag: str
    previous: str
    messages: tuple[Sent, ...]
    behind: bool


@dataclass(frozen=True, slots=True)
class Published:
    """The batch is in the stream; `first` and `last` are the ids of its entries. `repeated`: it was there before."""

    first: str
    last: str
    repeated: bool


@dataclass(frozen=True, slots=True)
class Fenced:
    """Refused: another token is there, or none (0)."""

    token: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Refused: the number does not follow the one that Redis has, so that Redis has lost data."""


_Entries = list[tuple[str, dict[str, str]]]


class Script:
    """A Lua script, sent by its digest, and whole when the server does not know it (nothing was run then)."""

    def __init__(self, name: str) -> None:
        folder = files("outbox") / "lua"
        self._text = (folder / "position.lua").read_text() + (folder / f"{name}.lua").read_text()
        self._digest = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(
        self, redis: AnyRedis, keys: Sequence[str], args: Sequence[str | int], confirm: Confirm = Confirm.NONE
    ) -> list[Any]:
        operands = (len(keys), *keys, *args)
        try:
            return cast(list[Any], await confirm.run(redis, keys[0], ("EVALSHA", self._digest, *operands)))
        except NoScriptError:
            return cast(list[Any], await confirm.run(redis, keys[0], ("EVAL", self._text, *operands)))


_OPEN, _PUBLISH, _RESUME = Script("open"), Script("publish"), Script("resume")


class Checkpoints:
    """The scripts of a partition. Each either takes effect as a whole or not at all.

    A call that ends in a connection error or time-out may have taken effect, confirmed or not: open the checkpoint
    again to find out.
    """

    def __init__(self, redis: AnyRedis, streams: Streams, confirm: Confirm = Confirm.NONE) -> None:
        self._redis = redis
        self._streams = streams
        self._confirm = confirm

    async def open(self, partition: Partition, token: int) -> Opened | Fenced:
        """Read the checkpoint and shut out older tokens. What is found is confirmed. Repeating it changes nothing."""
        return await self._open(partition, token, self._confirm)

    async def look(self, partition: Partition, token: int) -> Opened | Fenced:
        """The same for an owner that has opened it already: writes nothing, and waits for no confirmation."""
        return await self._open(partition, token, Confirm.NONE)

    async def _open(self, partition: Partition, token: int, confirm: Confirm) -> Opened | Fenced:
        group, write = self._streams[partition.stream].group, int(confirm is not Confirm.NONE)
        status, *rest = await _OPEN.run(self._redis, _keys(partition), [token, group, write], confirm)
        if status == "fenced":
            return Fenced(int(rest[0] or 0))
        batch, tag, previous, messages, behind = rest
        return Opened(int(batch), tag, previous, _read_messages(messages), bool(behind))

    async def publish(
        self, partition: Partition, token: int, batch: int, tag: str, messages: Sequence[Message]
    ) -> Published | Fenced | Gap:
        """Add `messages` to the stream as batch `batch`. Repeating it with the same number and tag adds nothing.

        Returns once the batch is confirmed. Unconfirmed, or an error: it may be there all the same.
        """
        sent = " ".join(f"{message.id}:{message.attempts + 1}" for message in messages)
        entries = json.dumps([message.entry() for message in messages], ensure_ascii=False, separators=(",", ":"))
        args: list[str | int] = [token, batch, tag, sent, entries]
        status, *rest = await _PUBLISH.run(self._redis, _keys(partition), args, self._confirm)
        match status:
            case "published" | "repeated":
                return Published(rest[0], rest[1], status == "repeated")
            case "fenced":
                return Fenced(int(rest[0] or 0))
            case _:
                return Gap()

    async def resume(self, partition: Partition, token: int) -> bool:
        """Accept the stream as it stands, after its loss was dealt with. False: fenced."""
        status, *_ = await _RESUME.run(self._redis, _keys(partition), [token])
        return bool(status == "resumed")

    async def entries(self, stream: str, *, page: int = 1000) -> AsyncIterator[list[Sent]]:
        """All messages that the stream holds now, oldest first, in pages. Entries of others are passed over."""
        start = "-"
        while True:
            found = cast(_Entries, await self._redis.xrange(stream, min=start, max="+", count=page))
            yield [sent for _, fields in found if (sent := _read_entry(fields))]
            if len(found) < page:
                return
            start = f"({found[-1][0]}"


def _keys(partition: Partition) -> list[str]:
    return [checkpoint_key(partition.stream, partition.number), partition.stream]


def _read_messages(text: str) -> tuple[Sent, ...]:
    pairs = (word.split(":") for word in text.split())
    return tuple(Sent(ObjectId(id_), int(attempt)) for id_, attempt in pairs)


def _read_entry(fields: dict[str, str]) -> Sent | None:
    id_, attempt = fields.get("message_id", ""), fields.get("attempt", "")
    return Sent(ObjectId(id_), int(attempt)) if ObjectId.is_valid(id_) and attempt.isdecimal() else None
