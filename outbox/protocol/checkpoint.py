"""Checkpoints: what Redis itself knows of a partition, kept beside the stream and changed by scripts only."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bson import ObjectId

from outbox.errors import LookAgain, Owner
from outbox.message.document import MAX_ATTEMPTS, Message, Sent
from outbox.protocol.confirmation import Confirm
from outbox.protocol.encoding import as_arguments
from outbox.protocol.leases import Progress
from outbox.protocol.ownership import refuse
from outbox.protocol.room import Room
from outbox.protocol.script import Script
from outbox.protocol.tags import follows, new_tag, read_tags
from outbox.servers.few import few_connections
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Partition, Stream, Streams
from outbox.streams.entry_ids import Range
from outbox.streams.keys import record_key


class Batch(NamedTuple):
    """A batch that is in the stream: where it stands, the tag that it follows, its messages and its entries."""

    at: Progress
    after: str
    sent: tuple[Sent, ...]
    entries: Range


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint as it was found: its last batch, and the messages, with their entries, that may not be marked yet.
    These are those of the last batch and, if they were published before a mark was known, of some before it. `previous`
    has the tags which these batches follow, in order: of the batch before the last one, and of those before.

    A checkpoint that was not there is at batch 0, under a tag that nobody has seen yet. `marker` is the stream's, which
    each new stream gets anew. `other`: the stream is not the one that the checkpoint was written for; it was deleted
    or replaced.
    """

    at: Progress
    previous: tuple[str, ...]
    messages: tuple[Sent, ...]
    entries: Range
    marker: str
    other: bool

    def follows(self, known: Progress) -> bool:
        """Whether all that was published after `known` is among the messages."""
        return follows(self.at.batch, self.previous, known)


class Stand(NamedTuple):
    """What a checkpoint is known by: the token under which it was opened, and its last batch's tag."""

    token: int
    tag: str


@dataclass(frozen=True, slots=True)
class Glance:
    """Of some partitions of a stream, those checkpoints that are there and were written for it, by number.

    `last`: the id of the stream's last entry. '', and no checkpoints: the stream, its group or its record is another
    one than before, or gone. `unread`: the stream stands where it stood, and these were not read.
    """

    last: str
    stands: Mapping[int, Stand]
    unread: frozenset[int] = frozenset()


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
    """Refused: the batch does not follow what Redis has, or its stream is another one, so that Redis has lost data."""


@dataclass(frozen=True, slots=True)
class Full:
    """Refused: as much as is allowed waits in the stream for a worker already."""


_OPEN, _PUBLISH, _SCAN, _STAMP = Script("open"), Script("publish"), Script("scan"), Script("stamp")
_GLANCE = Script("glance")


SCAN_LEAST, SCAN_MOST, SCAN_BYTES = 100, 1000, 512 * 1024
"""Entries and bytes of one page of a search, in which Redis does nothing else: some milliseconds."""


class Checkpoints:
    """The scripts of a partition. Each either takes effect as a whole or not at all.

    Each raises ForeignStream, and does nothing, when the stream's record names another outbox than `ours`; the first
    `open` of a stream that names nobody puts `ours` on record.

    A call that ends in a connection error or time-out may have taken effect, confirmed or not, or may do so later: open
    the checkpoint again to find out. Arriving after that, it is refused, unless the checkpoint is still just what it
    was made for.
    """

    def __init__(
        self, redis: AnyRedis, streams: Streams, ours: Owner, confirm: Confirm = Confirm.NONE, *, bounded: bool = True
    ) -> None:
        """`bounded`: whether the streams' `max_undelivered` counts."""
        self._redis = redis
        self._streams = streams
        self._ours = ours
        self._confirm = confirm
        self._bounded = bounded
        self._room = Room(redis)

    async def open(self, partition: Partition, token: int) -> Opened | Fenced:
        """Read the checkpoint and shut out older tokens. What is found is confirmed. Repeating it changes nothing."""
        return await self._open(partition, token, self._confirm)

    async def look(self, partition: Partition, token: int) -> Opened | Fenced:
        """The same for an owner that has opened it already. Confirms nothing; writes its token over a lower one."""
        return await self._open(partition, token, Confirm.NONE)

    async def glance(
        self, stream: str, numbers: Sequence[int], *, group: bool = True, known: str = "", read: int = 0
    ) -> Glance:
        """What there is of these partitions of a stream, in one short call. Takes no token, and decides nothing.

        :param group: whether to look for the stream's consumer group, too.
        :param known: the last entry with which the checkpoints of all `numbers` but the first `read` were seen to be as
            they should be. They are read if it is not the last one any more.
        """
        declared = self._streams[stream]
        keys = [declared.key, record_key(declared.key), *map(declared.checkpoint_key, numbers)]
        args: list[str | int] = [declared.group if group else "", self._ours.claim, known, read]
        async with few_connections(self._redis) as redis:  # all streams are looked at at the same time
            last, *found = await _GLANCE.run(redis, keys, args) or ("",)
        pairs = zip(numbers, found[::2], found[1::2], strict=False)
        stands = {n: Stand(int(token), tag) for n, token, tag in pairs if _TOKEN.fullmatch(token)}
        return Glance(last, stands, frozenset(numbers[len(found) // 2 :] if last else ()))

    async def _open(self, partition: Partition, token: int, confirm: Confirm) -> Opened | Fenced:
        stream, write = self._streams[partition.stream], int(confirm is not Confirm.NONE)
        args: list[str | int] = [token, stream.group, write, new_tag(), int(stream.subject is None)]
        args += [self._ours.identity, self._ours.database, self._ours.hosts]
        status, *rest = await self._run(_OPEN, partition, args, confirm)
        if status == "fenced":
            return Fenced(int(rest[0]) if _TOKEN.fullmatch(rest[0]) else 0)
        batch, tag, previous, messages, first, last, marker, other = rest
        tags = read_tags(previous)
        sent, entries = _read_messages(messages), Range(first, last, mixed=len(tags) > 1)  # then of several batches
        return Opened(Progress(int(batch), tag), tags, sent, entries, marker, bool(other))

    async def publish(
        self,
        partition: Partition,
        token: int,
        batch: Progress,
        messages: Sequence[Message],
        *,
        after: str,
        unmarked: Sequence[Batch] = (),
        room: int = 0,
    ) -> Published | Fenced | Gap | Full:
        """Add `messages` to the stream as `batch`, which follows the one tagged `after`. Repeating it adds nothing.

        Returns once the batch is confirmed. Unconfirmed, or an error: it may be there all the same.

        :param unmarked: the batches before this one that are not known to be marked, which are put on record with it.
        :param room: nothing is added when the stream's `max_undelivered` leaves no room for so many. The same for every
            batch of a stream, however small, so that partitions with little to send do not keep out the others.
        """
        earlier = (f"{id_}:{attempt}" for one in unmarked for id_, attempt in one.sent)
        sent = " ".join([*earlier, *(f"{message.id}:{message.attempts + 1}" for message in messages)])
        window = f"{''.join(one.after for one in unmarked)} {unmarked[0].entries.first}" if unmarked else ""
        entries, large = as_arguments(messages)
        stream = self._streams[partition.stream]
        pressure: list[str | int] = [stream.group, self._most_before(stream, room)]
        args: list[str | int] = [token, batch.batch, batch.tag, after, sent, entries, *pressure, self._ours.claim]
        args += [window, *large]
        status, *rest = await self._run(_PUBLISH, partition, args, self._confirm)
        match status:
            case "published" | "repeated":
                return Published(rest[0], rest[1], status == "repeated")
            case "fenced":
                return Fenced(int(rest[0]) if _TOKEN.fullmatch(rest[0]) else 0)
            case "full":
                return Full()
            case _:
                return Gap()

    def batch_size(self, partition: Partition, wanted: int) -> int:
        """How many messages a batch may have."""
        return self._streams[partition.stream].batch_size(wanted)

    async def has_room(self, partition: Partition, room: int) -> bool:
        """Whether the stream's `max_undelivered` leaves room for so many messages, by the latest answer of Redis."""
        stream = self._streams[partition.stream]
        most = self._most_before(stream, room)
        return most < 0 or await self._room.is_there(stream, most)

    def _most_before(self, stream: Stream, room: int) -> int:
        return stream.most_before(room) if self._bounded else -1

    async def scan(
        self, partition: Partition, token: int, opened: Opened, *, page: int = SCAN_LEAST, after: str = ""
    ) -> AsyncGenerator[tuple[list[Sent], Range]]:
        """The messages that the stream holds, oldest first, in pages, each with the entries that it was read from.

        Entries of others are passed over.

        Raises LookAgain when checkpoint or stream are not those that were `opened` any more: then what was found so far
        means nothing.

        :param page: entries of the first page; the next ones are as long as their size allows.
        :param after: only what stands behind this entry; '' for all that there is.
        """
        start = f"({after}" if after else "-"
        while True:
            args: list[str | int] = [token, opened.at.tag, opened.marker, start, page, self._ours.claim]
            status, *rest = await self._run(_SCAN, partition, args)
            if status != "scanned":
                raise LookAgain(f"{partition}: the checkpoint or the stream changed while the stream was searched")
            count, first, last, found, size = rest
            sent = [one for pair in zip(found[::2], found[1::2], strict=True) if (one := read_sent(*pair))]
            yield sent, Range(first, last, mixed=True)
            if count < page:
                return
            start = f"({last}"
            page = max(1, min(SCAN_MOST, page * 2, SCAN_BYTES * count // max(size, 1)))

    async def stamp(self, partition: Partition, token: int, batch: Progress, opened: Opened) -> None:
        """End a recovery by an empty `batch`, after which whatever was published before is another history.

        Raises LookAgain when checkpoint or stream are not those that were `opened` any more.
        """
        args: list[str | int] = [token, batch.batch, batch.tag, opened.at.tag, opened.marker, self._ours.claim]
        status, *_ = await self._run(_STAMP, partition, args)
        if status != "stamped":
            raise LookAgain(f"{partition}: the checkpoint or the stream changed during the recovery")

    async def _run(
        self, script: Script, partition: Partition, args: Sequence[str | int], confirm: Confirm = Confirm.NONE
    ) -> list[Any]:
        stream = self._streams[partition.stream]
        keys = [stream.checkpoint_key(partition.number), stream.key, record_key(stream.key)]
        answer = await script.run(self._redis, keys, args, confirm)
        refuse(stream.key, self._ours, answer)
        return answer


def _read_messages(text: str) -> tuple[Sent, ...]:
    pairs = (word.partition(":") for word in text.split())
    return tuple(sent for id_, _, attempt in pairs if (sent := read_sent(id_, attempt)))


def read_sent(message: str, attempt: str) -> Sent | None:
    """What an entry's fields `message_id` and `attempt` stand for. None: not written by a relay.

    Just as a relay writes them. `int` takes digits of every script, and numbers that MongoDB cannot hold; whoever asked
    it about one would fail.
    """
    if not (_ID.fullmatch(message) and _ATTEMPT.fullmatch(attempt) and int(attempt) <= MAX_ATTEMPTS):
        return None
    return Sent(ObjectId(message), int(attempt))


_TOKEN = re.compile("[0-9]{1,15}")
_ID, _ATTEMPT = re.compile(r"[0-9a-f]{24}"), re.compile(r"[1-9][0-9]{0,9}")
