"""Evidence: of a stream without a subject, which messages are done because somebody acknowledged their entries.

Nothing but the acknowledgement tells, and Redis does not record it: an entry that was acknowledged is one that was
given to a consumer and is not held any more. So every few seconds a script looks (`look.lua`), remembers in the
stream's record what it saw, and compares. A message is completed when its entry is in the stream, was given to the
group, and is held no longer. That is no evidence, and the message is published again, when

- the consumer that held it at the last look was removed from its group since (`XGROUP DELCONSUMER`), or may have been
  removed and be there again: some consumer on the server was removed, and this one holds nothing of what it held;
- since the last look the server was asked to acknowledge nothing at all: it was read with NOACK, or skipped;
- no consumer is left in the group that could have acknowledged what was given since the last look;
- since the last look the group was destroyed and made again by somebody, or any group of the server set (`XGROUP
  SETID`): what was given since then may have been skipped.

An entry that is not in the stream is no evidence of anything, whoever removed it: what the group had not come to is
published again (outbox.delivery.removed), the rest is named by `verify`. Entries are trimmed after they have been
judged. What the group had been given before it was first watched is taken for acknowledged.

What cannot be known: a consumer that was given entries and removed between two looks, while others acknowledged; one
that was removed and is there again, when Redis restarts or fails over after that and before the next look; a group that
was read with NOACK while others acknowledged; one that was read so, or set, between the last look and the first one
after a restart or failover. A reset of the server's statistics counts as a restart. Whoever removes a consumer that
holds entries should claim them first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pymongo

from outbox.database import LENIENT, OUTBOX, PARTITIONS, Database, Document
from outbox.message import transitions
from outbox.message.document import Sent, State, by_attempt, is_ours
from outbox.message.outcome import COUNTED, Found, put_back
from outbox.message.poison import update_published
from outbox.protocol import records
from outbox.protocol.checkpoint import read_sent
from outbox.protocol.ownership import own, refuse
from outbox.protocol.script import Script
from outbox.protocol.tags import new_tag
from outbox.servers.clock import server_time
from outbox.servers.few import few_connections
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Stream
from outbox.streams.entry_ids import EntryId
from outbox.streams.keys import record_key

PAGE = 1000
TOGETHER = 50
"""Messages that are put back at a time: each waits for the disks of a majority."""
HELD = 1000
"""Entries held by consumers that are remembered, the oldest. What comes after them is judged later."""

COUNT_SECONDS = 2.5
"""For so long, what is unaccounted for is counted. With hundreds of partitions in which much is, some are left out."""
UNACCOUNTED_SECONDS = 60.0
"""For so long after its publication, an entry that is not there may be about to be judged."""

_GONE = {"entries": 1, "published_at": 1}
_LOOK, _SETTLE = Script("look"), Script("settle")

_WHY = {
    "removed": "consumer {who!r} was removed from the group while it held its entry",
    "perhaps": "some group of this Redis lost a consumer, perhaps {who!r} while it held its entry",
    "silence": "its entry was read or passed over, and nobody acknowledged anything",
    "nobody": "its entry was read or passed over, and no consumer is left in the group that could have acknowledged it",
    "destroyed": "the group was destroyed and made again, perhaps past its entry",
    "set": "a group was set by XGROUP SETID, perhaps past its entry",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """What a pass did: messages completed, and published again or dead because nobody acknowledged them.

    `bound`: entries before this one are judged; "" when the group is not there. `reasons`: why messages came back.
    """

    completed: int = 0
    found: Found = field(default_factory=Found)
    bound: str = ""
    reasons: tuple[str, ...] = ()


async def judge(database: Database, redis: AnyRedis, stream: Stream, *, before: str = "") -> Judged:
    """Complete the messages of `stream` whose entries were acknowledged, and publish again those that cannot have been.

    Any number of relays may do so at once. After a crash, the same is judged again, which changes nothing.

    :param before: the first entry that another group needs; nothing is completed from there on.
    :raises ForeignStream: it belongs to another outbox.
    """
    ours = await own(database)
    completed, found, reasons = 0, Found(), set[str]()
    keys = [stream.key, record_key(stream.key)]
    while True:
        word = new_tag()
        reply = await _LOOK.run(redis, keys, [stream.group, PAGE, HELD, before, word, ours.claim])
        refuse(stream.key, ours, reply)
        if not reply:
            return Judged(completed, found, "", tuple(sorted(reasons)))
        then, bound, acknowledged, lost = reply
        for reason, done in await _put_back(database, stream, _lost(lost)):
            found += done
            reasons.add(reason)
        sents = [read_sent(*pair) for pair in zip(acknowledged[::2], acknowledged[1::2], strict=True)]
        completed += await _complete(database, stream, [sent for sent in sents if sent])
        if then != "nothing":
            [settled] = await _SETTLE.run(redis, keys, [stream.group, word])
            if then == "more" and settled:
                continue
            if not settled:
                bound = ""  # another relay is at it: what it finds decides
        return Judged(completed, found, bound, tuple(sorted(reasons)))


async def unaccounted(database: Database, redis: AnyRedis, streams: Iterable[Stream]) -> dict[str, int]:
    """By stream, up to `PAGE` messages at its head that have no entry any more, and were not seen to be acknowledged.

    Cheap: it reads what came before the first entry that is there. `verify` finds the rest. Where what is gone is done,
    as the stream's declaration says, there are none: a relay completes them in its time. Streams that Redis says
    nothing of are left out.
    """
    asked = [stream for stream in streams if stream.subject is None and not stream.gone_is_done]
    async with few_connections(redis) as few:
        found: list[Any] = await asyncio.gather(*(few.xinfo_stream(one.key) for one in asked), return_exceptions=True)
    stands = {stream.name: one for stream, one in zip(asked, found, strict=True) if isinstance(one, dict)}
    counts: dict[str, int] = {}
    until = time.monotonic() + COUNT_SECONDS
    with pymongo.timeout(2 * COUNT_SECONDS):
        limit = await server_time(database) - timedelta(seconds=UNACCOUNTED_SECONDS)
        # Nearly always the first message of a partition tells that there is nothing to be counted.
        first = records.heads(database, {"state": State.PUBLISHED.value}, "batch", _GONE)
        async for one in await database[PARTITIONS].aggregate(first):
            name = one["stream"]
            if name not in stands or counts.get(name, 0) >= PAGE or time.monotonic() > until:
                continue
            if _is_gone(one["head"], stands[name], limit) is not False:
                more = await _gone(database, name, int(one["number"]), stands[name], limit)
                counts[name] = min(PAGE, counts.get(name, 0) + more)
    return {name: count for name, count in counts.items() if count}


async def _gone(database: Database, stream: str, number: int, stands: Document, limit: datetime) -> int:
    query = {"state": State.PUBLISHED.value, "stream": stream, "partition": number}
    count = 0
    async for message in database[OUTBOX].find(query, _GONE).sort("batch").limit(PAGE).hint("published"):
        gone = _is_gone(message, stands, limit)
        if gone is False:
            break
        count += bool(gone)
    return count


def _is_gone(message: Document, stands: Document, limit: datetime) -> bool | None:
    """Whether its entry was before the first one of the stream as it `stands`. None: the message does not say."""
    entries, published_at = message.get("entries"), message.get("published_at")
    if not entries or not is_ours(message) or not isinstance(published_at, datetime):
        return None
    after = stands.get("recorded-first-entry-id") if stands["length"] else stands["last-generated-id"]
    last, first = EntryId.parse(entries["last"]), EntryId.parse(after)
    return not (published_at >= limit or last > first or (last == first and stands["length"]))


def _lost(flat: Sequence[str]) -> list[tuple[Sent, str, str]]:
    found = []
    for message, attempt, why, who in zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True):
        if sent := read_sent(message, attempt):
            found.append((sent, why, who))
    return found


async def _put_back(
    database: Database, stream: Stream, lost: Sequence[tuple[Sent, str, str]]
) -> list[tuple[str, Found]]:
    """What came of those that still stand, each with its reason.

    Fast, above all where a look before this one has done it: while this goes on, another relay may look, and of all
    looks at a stream only the latest counts.
    """
    messages = database[OUTBOX].with_options(codec_options=LENIENT)
    query = {"_id": {"$in": [sent.id for sent, _, _ in lost]}, "stream": stream.name}
    stored = {m["_id"]: m async for m in messages.find(query, dict.fromkeys(("key", "state", *COUNTED), 1))}
    standing = [(*one, stored[one[0].id]) for one in lost if _stands(stored.get(one[0].id), one[0])]
    found: list[tuple[str, Found]] = []
    for start in range(0, len(standing), TOGETHER):
        some = [(_WHY[why].format(who=who), sent, m) for sent, why, who, m in standing[start : start + TOGETHER]]
        done = await asyncio.gather(*(put_back(database, stream, m, sent, reason) for reason, sent, m in some))
        found += [(one[0], each) for one, each in zip(some, done, strict=True) if each != Found()]
    return found


def _stands(message: Document | None, sent: Sent) -> bool:
    """Whether this attempt is the message's last one, and has no outcome."""
    at = (message.get("state"), message.get("attempts")) if message else None
    return at in ((State.PUBLISHED.value, sent.attempt), (State.PENDING.value, sent.attempt - 1))


async def _complete(database: Database, stream: Stream, acknowledged: Sequence[Sent]) -> int:
    completed = 0
    for attempt, ids in by_attempt(acknowledged).items():
        done = transitions.complete_batch(ids, attempt, stream=stream.name)
        completed += await update_published(database[OUTBOX], done, hint="_id_")
    return completed
