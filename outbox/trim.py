"""Trim: entries that every group has acknowledged leave Redis. Nothing else ever does.

What is trimmed counts as done. Of a stream with a subject, that is what the subject says, and stays so: a worker that
acknowledges before it is done, and dies, leaves the subject wanted, and its message is rescued. Of a stream without one
nothing but the acknowledgement tells, so its messages become completed when they are trimmed, just before: a loss of
data later on does not bring them back, and they are pruned in their time.

Redis 8.2 can trim by acknowledgement itself (XTRIM … ACKED), also behind an entry that is not. It is not used: it knows
no group to be ignored, and walks over all that is not acknowledged, each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from outbox.checkpoint import Script
from outbox.message import State
from outbox.printable import printable, shell_word
from outbox.schema import OUTBOX, Database, Document
from outbox.streams import Partition, Stream
from outbox.topology import AnyRedis

ABANDONED_SECONDS = 3600.0
"""A group that holds up trimming in silence for so long is told of."""

AT_ONCE = 10_000
"""Entries that one call removes, about: some milliseconds in which Redis does nothing else."""

PAGE = 1000

_TRIM = Script("trim")


@dataclass(frozen=True, slots=True)
class Straggler:
    """A group that is behind the stream's own one, so that entries stay for it.

    `silent_seconds`: for how long it has had something to do, and none of its consumers has asked for anything.
    """

    stream: str
    group: str
    silent_seconds: float
    ignored: bool

    @property
    def abandoned(self) -> bool:
        return self.ignored or self.silent_seconds >= ABANDONED_SECONDS

    def __str__(self) -> str:
        which = f"group '{printable(self.group)}' of stream {self.stream!r} does nothing"
        if self.ignored:
            return f"{which}, and is ignored (ignore_groups_after_seconds): entries that it has not read are trimmed"
        return (
            f"{which}, so that no entry can be trimmed and Redis fills up. Start its consumers; or, if nobody needs "
            f"it, redis-cli XGROUP DESTROY {self.stream} {shell_word(self.group)}; or declare "
            "ignore_groups_after_seconds"
        )


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What one pass over a stream removed, and of how many messages it took that for the end."""

    removed: int = 0
    completed: int = 0
    stragglers: tuple[Straggler, ...] = ()


async def stragglers(redis: AnyRedis, stream: Stream) -> tuple[Straggler, ...]:
    """The groups that hold up the trimming of `stream`. Changes nothing."""
    return (await _run(redis, stream, up_to="", at_most=0))[2]


async def trim(database: Database, redis: AnyRedis, stream: Stream) -> Trimmed:
    """Remove the entries of `stream` that every group has acknowledged. Any number of relays may do so at once.

    An entry that was given to nobody, or is in somebody's hands, stays, in whichever group; and while the stream's own
    group is not there, all of them. Only groups that are ignored lose what they have not read.
    """
    if not stream.trim:
        return Trimmed()
    bound, _, behind = await _run(redis, stream, up_to="", at_most=0)
    if not bound:
        return Trimmed()
    completed = 0
    if stream.subject is None:
        # First, so that nothing is trimmed that a recovery would take for lost.
        for number in range(stream.partitions):
            completed += await _complete(database, Partition(stream.name, number), bound)
    removed = 0
    while more := (await _run(redis, stream, up_to=bound, at_most=AT_ONCE))[1]:
        removed += more
    return Trimmed(removed, completed, behind)


async def _run(redis: AnyRedis, stream: Stream, *, up_to: str, at_most: int) -> tuple[str, int, tuple[Straggler, ...]]:
    ignore = round((stream.ignore_groups_after_seconds or 0) * 1000)
    bound, removed, told = await _TRIM.run(redis, [stream.name], [stream.group, up_to, ignore, at_most])
    found = zip(told[::3], told[1::3], told[2::3], strict=True)
    behind = tuple(Straggler(stream.name, group, silent / 1000, bool(ignored)) for group, silent, ignored in found)
    return bound, removed, behind


async def _complete(database: Database, partition: Partition, bound: str) -> int:
    """Complete the published messages of `partition` whose entries are all before `bound`; returns how many.

    In the order of batches, which is that of their entries.
    """
    published = {"state": State.PUBLISHED.value, "stream": partition.stream, "partition": partition.number}
    completed = 0
    while True:
        found = database[OUTBOX].find(published, {"batch": 1, "entries": 1}).sort("batch").limit(PAGE).hint("published")
        page = _known(takewhile(lambda message: _is_before(message, bound), await found.to_list()))
        if not page:
            return completed
        result = await database[OUTBOX].update_many(
            # Up to the batch that was seen: one that was replayed since, and is published again, has a later one.
            {"_id": {"$in": [message["_id"] for message in page]}, **published, "batch": {"$lte": page[-1]["batch"]}},
            {"$set": {"state": State.COMPLETED.value}, "$currentDate": {"completed_at": True}},
        )
        if not result.modified_count:
            return completed
        completed += result.modified_count


def _is_before(message: Document, bound: str) -> bool:
    """Also when its entries are not known, as after a recovery: those of a later batch tell, then."""
    return "entries" not in message or _read(message["entries"]["last"]) < _read(bound)


def _known(messages: Iterable[Document]) -> Sequence[Document]:
    """`messages` up to the last one whose entries are known."""
    page = list(messages)
    while page and "entries" not in page[-1]:
        page.pop()
    return page


def _read(entry: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0)
