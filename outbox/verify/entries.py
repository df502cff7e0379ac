"""Published messages against the stream: each that is still wanted has its entry, and a worker that will handle it.

Read in the order in which a race looks innocent: the message, then the stream, then the message and its subject once
more. A worker settles the subject before it acknowledges, and only what is acknowledged is trimmed; so what is not
there, and still wanted afterwards, is lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from redis.exceptions import ResponseError

from outbox.message import State, is_ours
from outbox.replay import Selection, replay
from outbox.schema import OUTBOX, Document
from outbox.settled import NEEDED, settled
from outbox.streams import Stream
from outbox.verify.findings import KEPT, Finding, System, named, number

PAGE = 500
CHUNK = 1000
"""Entries asked for at a time."""

_FIELDS = {"batch": 1, "tag": 1, "attempts": 1, "entries": 1, **NEEDED}
_NEVER = (0, 0)
Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Group:
    """How far the stream's group is: what it was given last, None where there is no group."""

    delivered: Position | None


async def entries(system: System) -> list[Finding]:
    findings = []
    for stream in system.streams.values():
        lost: list[ObjectId] = []
        unfinished: list[ObjectId] = []
        group = await _group(system, stream)
        async for page in _published(system, stream):
            missing, acknowledged = await _suspects(system, stream, group, page)
            if missing or acknowledged:
                await system.look_again()
                still = await _still_wanted(system, stream, missing + acknowledged)
                lost += [each["_id"] for each in missing if each["_id"] in still]
                unfinished += [each["_id"] for each in acknowledged if each["_id"] in still]
            if len(lost) + len(unfinished) >= KEPT:
                break
        if lost:
            findings.append(_lost(system, stream, lost))
        if unfinished:
            findings.append(_unfinished(system, stream, unfinished))
    return findings


def _lost(system: System, stream: Stream, ids: list[ObjectId]) -> Finding:
    return Finding(
        "entry-lost",
        f"{number(len(ids), 'published message is', 'published messages are')} not in {stream.name}, and not done",
        "its entry was deleted or trimmed before a worker had done its work, while the checkpoint stayed: the relay "
        "takes it for published, and no worker will see it",
        f"outbox replay --id {ids[0]}", len(ids), named(ids), _again(system, ids),
    )  # fmt: skip


def _unfinished(system: System, stream: Stream, ids: list[ObjectId]) -> Finding:
    return Finding(
        "acknowledged-unfinished",
        f"{number(len(ids), 'message of', 'messages of')} {stream.name} was acknowledged without a result",
        f"a worker of {stream.group} acknowledged the entry and left the file waiting. A relay rescues it after the "
        "stream's rescue_seconds, if it has any; this does it now",
        f"outbox replay --id {ids[0]}", len(ids), named(ids), _again(system, ids),
    )  # fmt: skip


def _again(system: System, ids: list[ObjectId]) -> Any:
    async def publish() -> int:
        return (await replay(system.database, Selection(ids=tuple(ids)))).replayed

    return publish


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


async def _suspects(
    system: System, stream: Stream, group: _Group, page: list[Document]
) -> tuple[list[Document], list[Document]]:
    """Of a page: those that are not in the stream, and those that were acknowledged."""
    there = await _there(system, stream, page)
    missing = [message for message in page if str(message["_id"]) not in there]
    if stream.subject is None:
        # Nothing tells that such a message is done, but that its entry was given to a worker.
        missing = [message for message in missing if group.delivered and _first(message) > group.delivered]
        return missing, []
    given = {id_: entry for id_, entry in there.items() if group.delivered and entry <= group.delivered}
    pending = await _pending(system, stream, given.values())
    acknowledged = [
        message for message in page
        if (entry := given.get(str(message["_id"]))) and entry not in pending
    ]  # fmt: skip
    return missing, acknowledged


async def _there(system: System, stream: Stream, page: list[Document]) -> dict[str, Position]:
    """Where the messages stand in the stream, by id: the last entry of each."""
    sought = {str(message["_id"]) for message in page}
    found: dict[str, Position] = {}
    ranges = dict.fromkeys((m["entries"]["first"], m["entries"]["last"]) for m in page if m.get("entries"))
    for first, last in ranges:
        await _look(system, stream, first, last, sought, found)
    if sought - found.keys():
        # What was marked when its batch was reconciled does not know where it stands.
        await _look(system, stream, "-", "+", sought, found)
    return found


async def _look(
    system: System, stream: Stream, first: str, last: str, sought: set[str], found: dict[str, Position]
) -> None:
    redis: Any = system.redis
    while chunk := await redis.xrange(stream.name, first, last, count=CHUNK):
        for entry, fields in chunk:
            if (id_ := fields.get("message_id")) in sought:
                found[id_] = max(_position(entry), found.get(id_, _NEVER))
        if len(chunk) < CHUNK:
            return
        first = f"({chunk[-1][0]}"


async def _pending(system: System, stream: Stream, given: Iterable[Position]) -> set[Position]:
    """Of these entries and those between them, the ones that a worker has in hand."""
    given = sorted(given)
    if not given:
        return set()
    redis: Any = system.redis
    found: set[Position] = set()
    first, last = _text(given[0]), _text(given[-1])
    while chunk := await redis.xpending_range(stream.name, stream.group, min=first, max=last, count=CHUNK):
        found |= {_position(each["message_id"]) for each in chunk}
        if len(chunk) < CHUNK:
            break
        first = f"({chunk[-1]['message_id']}"
    return found


async def _group(system: System, stream: Stream) -> _Group:
    redis: Any = system.redis
    try:
        groups = await redis.xinfo_groups(stream.name)
    except ResponseError:
        groups = []  # no stream, no group
    ours = next((group for group in groups if group["name"] == stream.group), None)
    return _Group(_position(ours["last-delivered-id"]) if ours else None)


async def _still_wanted(system: System, stream: Stream, messages: list[Document]) -> set[ObjectId]:
    """Of these, the ones that nothing has happened to since, and whose subject still waits."""
    same = [
        {"_id": m["_id"], "state": State.PUBLISHED.value, "attempts": m.get("attempts"), "tag": m.get("tag")}
        for m in messages
    ]
    found = [each async for each in system.database[OUTBOX].find({"$or": same}, NEEDED) if is_ours(each)]
    return {each["_id"] for each in await _wanted(system, stream, found)}


def _first(message: Document) -> Position:
    return _position(message["entries"]["first"]) if message.get("entries") else _NEVER


def _position(entry: str) -> Position:
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence)


def _text(position: Position) -> str:
    return f"{position[0]}-{position[1]}"
