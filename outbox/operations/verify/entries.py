"""Published messages against the stream: each that is still wanted has its entry, and a worker that will handle it.

Read in the order in which a race looks innocent: the message, then the stream, then the message and its subject once
more. A worker settles the subject before it acknowledges, and only what is acknowledged is trimmed; so what is not
there, and still wanted afterwards, is lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from redis.exceptions import ResponseError

from outbox.database import OUTBOX, Document
from outbox.delivery.entries import Entries, Entry, not_there
from outbox.delivery.places import locate
from outbox.message.document import State, is_ours
from outbox.operations.replay import Selection, replay
from outbox.operations.verify.findings import KEPT, Finding, Repair, System, named, number
from outbox.protocol.settled import NEEDED, settled
from outbox.streams.declaration import Stream
from outbox.streams.entry_ids import NEVER, EntryId

PAGE = 500
SEARCHED = 20_000
"""Messages that are kept in mind together: each time, the whole stream is searched, and a pause is made."""
CHUNK = 1000
"""Entries asked for at a time."""

_FIELDS = {"batch": 1, "tag": 1, "attempts": 1, "entries": 1, **NEEDED}


@dataclass(frozen=True, slots=True)
class _Group:
    """How far the stream's group is: what it was given last, None where there is no group."""

    delivered: EntryId | None


@dataclass(slots=True)
class _Suspects:
    """Messages whose entries are missing; whose entries were acknowledged; and, of a stream without a subject, whose
    entries are gone after the group has come to them."""

    missing: list[Document] = field(default_factory=list)
    acknowledged: list[Document] = field(default_factory=list)
    gone: list[Document] = field(default_factory=list)

    def all(self) -> list[Document]:
        return [*self.missing, *self.acknowledged, *self.gone]

    def __bool__(self) -> bool:
        return bool(self.all())

    def add(self, found: _Suspects, still: set[ObjectId]) -> None:
        self.missing += [each for each in found.missing if each["_id"] in still]
        self.acknowledged += [each for each in found.acknowledged if each["_id"] in still]
        self.gone += [each for each in found.gone if each["_id"] in still]


async def entries(system: System) -> list[Finding]:
    findings = []
    for stream in system.streams.values():
        suspects, unknown = await _confirmed(system, stream)
        for messages, finding in (
            (suspects.missing, _lost), (suspects.acknowledged, _unfinished), (suspects.gone, _unaccounted),
        ):  # fmt: skip
            if messages:
                findings.append(finding(system, stream, messages))
        if unknown:
            findings.append(_unlocated(system, stream, unknown))
    return findings


async def _confirmed(system: System, stream: Stream) -> tuple[_Suspects, list[ObjectId]]:
    """Those that are suspects still after a pause; and messages that are there, and not on record where."""
    suspects = _Suspects()
    unknown: list[ObjectId] = []
    group = await _group(system, stream)
    async for acknowledged, astray in _gathered(system, stream, group):
        found = await _searched(system, stream, group, astray)
        found.acknowledged += acknowledged
        missing = {message["_id"] for message in found.all()}
        unknown += [each["_id"] for each in astray if not each.get("entries") and each["_id"] not in missing]
        if found:
            await system.look_again()
        everyone = found.all()
        for start in range(0, len(everyone), PAGE):
            suspects.add(found, await _still_wanted(system, stream, everyone[start : start + PAGE]))
            if len(suspects.all()) >= KEPT:
                return suspects, unknown
    return suspects, unknown


def _lost(system: System, stream: Stream, messages: list[Document]) -> Finding:
    ids = [message["_id"] for message in messages]
    return Finding(
        "entry-lost",
        f"{number(len(ids), 'published message is', 'published messages are')} not in {stream.name}, and not done",
        "its entry was deleted or trimmed before a worker had done its work, while the checkpoint stayed: the relay "
        "takes it for published, and no worker will see it",
        f"outbox replay --id {ids[0]}", len(ids), named(ids), _again(system, stream, messages),
    )  # fmt: skip


def _unfinished(system: System, stream: Stream, messages: list[Document]) -> Finding:
    ids = [message["_id"] for message in messages]
    return Finding(
        "acknowledged-unfinished",
        f"{number(len(ids), 'message of', 'messages of')} {stream.name} was acknowledged without a result",
        f"a worker of {stream.group} acknowledged the entry and left the file waiting. A relay rescues it after the "
        "stream's rescue_seconds, if it has any; this does it now",
        f"outbox replay --id {ids[0]}", len(ids), named(ids), _again(system, stream, messages),
    )  # fmt: skip


def _unaccounted(system: System, stream: Stream, messages: list[Document]) -> Finding:
    ids = [message["_id"] for message in messages]
    count = number(len(ids), "message of", "messages of")
    return Finding(
        "entry-unaccounted",
        f"{count} {stream.name} without an entry any more, and nobody is known to have acknowledged it",
        "its entry was trimmed or deleted by others, or by a worker that deletes what it has done. Without a subject, "
        "only an acknowledgement that a relay has seen tells that a message is done: this one is kept, and comes again "
        "after a loss of data. If workers delete what they have done, declare the stream with \"gone_is_done\": true; "
        "if this one is not done, publish it again",
        f"outbox replay --id {ids[0]}", len(ids), named(ids),
    )  # fmt: skip


def _unlocated(system: System, stream: Stream, ids: list[ObjectId]) -> Finding:
    async def record() -> int:
        return await locate(system.database, Entries(system.redis, "verify"), stream)

    count = number(len(ids), "published message", "published messages")
    return Finding(
        "entries-not-recorded",
        f"of {count} of {stream.name} it is not recorded where they stand in the stream",
        "an older version published them, or found them after a loss of data. To find out what has become of them, "
        "the whole stream must be searched, each time",
        "outbox verify --repair", len(ids), named(ids), record,
    )  # fmt: skip


def _again(system: System, stream: Stream, messages: list[Document]) -> Repair:
    async def publish() -> int:
        done = 0
        for start in range(0, len(messages), PAGE):
            # Looked at again: a worker may have done them since, or a relay rescued them.
            if still := await _still_wanted(system, stream, messages[start : start + PAGE]):
                selection = Selection(ids=tuple(still), states=(State.PUBLISHED,))
                done += (await replay(system.database, selection, before=system.now)).replayed
        return done

    return publish


async def _gathered(
    system: System, stream: Stream, group: _Group
) -> AsyncIterator[tuple[list[Document], list[Document]]]:
    """Messages whose entries were acknowledged; and messages astray, which are not where it is recorded, or not on
    record. Of many pages together, since the whole stream is searched for those astray, each time.
    """
    acknowledged: list[Document] = []
    astray: list[Document] = []
    async for page in _published(system, stream):
        there = await _where_recorded(system, stream, page)
        acknowledged += await _acknowledged(system, stream, group, page, there)
        astray += [message for message in page if str(message["_id"]) not in there]
        if len(acknowledged) + len(astray) >= SEARCHED:
            yield acknowledged, astray
            acknowledged, astray = [], []
    yield acknowledged, astray


async def _published(system: System, stream: Stream) -> AsyncIterator[list[Document]]:
    """What is published since longer than the grace, and still wanted, a page at a time, batch by batch."""
    query = {
        "state": State.PUBLISHED.value, "stream": stream.name, "published_at": {"$not": {"$gte": system.settled}},
    }  # fmt: skip
    found = system.database[OUTBOX].find(query, _FIELDS, batch_size=PAGE).hint("published")
    page: list[Document] = []
    async for message in found:
        if not is_ours(message):
            continue
        page.append(message)
        if len(page) == PAGE:
            yield await _wanted(system, stream, page)
            page = []
    yield await _wanted(system, stream, page)


async def _wanted(system: System, stream: Stream, page: list[Document]) -> list[Document]:
    done = await settled(system.database, stream.subject, page)
    return [message for message in page if message["_id"] not in done]


async def _searched(system: System, stream: Stream, group: _Group, astray: list[Document]) -> _Suspects:
    """The suspects among those that are not where it is recorded, after a search through the whole stream.

    What was marked when its batch was reconciled does not know where it stands.
    """
    there = await _look(astray, Entries(system.redis, "verify").walk(stream, "-", "+")) if astray else {}
    missing = [message for message in astray if str(message["_id"]) not in there]
    if stream.subject is None:
        if group.delivered is None:
            return _Suspects()  # no stream, or no group: a recovery is due
        ahead = [message for message in missing if _first(message) > group.delivered]
        given = [message for message in missing if _first(message) <= group.delivered]
        if stream.gone_is_done:
            # A relay completes them, except those of which it is not known whether the group has come to all of them.
            given = [message for message in given if not message.get("entries")]
        return _Suspects(missing=ahead, gone=given)
    return _Suspects(missing, await _acknowledged(system, stream, group, astray, there))


async def _acknowledged(
    system: System, stream: Stream, group: _Group, messages: list[Document], there: dict[str, EntryId]
) -> list[Document]:
    """Those that the group was given and that no worker has in hand, although their subject still waits."""
    if stream.subject is None:
        return []
    reached = {id_: entry for id_, entry in there.items() if group.delivered and entry <= group.delivered}
    pending = await _pending(system, stream, reached.values())
    return [message for message in messages if (entry := reached.get(str(message["_id"]))) and entry not in pending]


async def _where_recorded(system: System, stream: Stream, page: list[Document]) -> dict[str, EntryId]:
    """Where the messages stand in the stream, by id, of those that stand where it is recorded: the last entry."""
    recorded = ((m["entries"]["first"], m["entries"]["last"]) for m in page if m.get("entries"))
    return await _look(page, Entries(system.redis, "verify").walk_all(stream, recorded))


async def _look(messages: list[Document], pages: AsyncIterator[list[Entry]]) -> dict[str, EntryId]:
    sought = {str(message["_id"]): message.get("attempts", 0) for message in messages}
    found: dict[str, EntryId] = {}
    async for page in pages:
        for entry in page:
            # One of an attempt before this one may still be there for other groups.
            if entry.sent and entry.sent.attempt >= sought.get(id_ := str(entry.sent.id), entry.sent.attempt + 1):
                found[id_] = max(EntryId.parse(entry.id), found.get(id_, NEVER))
    return found


async def _pending(system: System, stream: Stream, given: Iterable[EntryId]) -> set[EntryId]:
    """Of these entries and those between them, the ones that a worker has in hand."""
    given = sorted(given)
    if not given:
        return set()
    redis: Any = system.redis
    found: set[EntryId] = set()
    first, last = str(given[0]), str(given[-1])
    while chunk := await redis.xpending_range(stream.key, stream.group, min=first, max=last, count=CHUNK):
        found |= {EntryId.parse(each["message_id"]) for each in chunk}
        if len(chunk) < CHUNK:
            break
        first = f"({chunk[-1]['message_id']}"
    return found


async def _group(system: System, stream: Stream) -> _Group:
    redis: Any = system.redis
    try:
        groups = await redis.xinfo_groups(stream.key)
    except ResponseError as error:
        if not not_there(error):  # refused, or a part of a cluster is away: nothing is known then
            raise
        groups = []  # no stream, no group
    ours = next((group for group in groups if group["name"] == stream.group), None)
    return _Group(EntryId.parse(ours["last-delivered-id"]) if ours else None)


async def _still_wanted(system: System, stream: Stream, messages: list[Document]) -> set[ObjectId]:
    """Of these, the ones that nothing has happened to since, and whose subject still waits."""
    same = [
        {"_id": m["_id"], "state": State.PUBLISHED.value, "attempts": m.get("attempts"), "tag": m.get("tag")}
        for m in messages
    ]
    found = [each async for each in system.database[OUTBOX].find({"$or": same}, NEEDED) if is_ours(each)]
    return {each["_id"] for each in await _wanted(system, stream, found)}


def _first(message: Document) -> EntryId:
    return EntryId.parse(message["entries"]["first"]) if message.get("entries") else NEVER
