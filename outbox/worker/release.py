"""Release: a consumer lets go of an entry, as the end of its message says; and of its groups, when it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import Enum

import structlog

from outbox.delivery.entries import Entries, Entry
from outbox.protocol.ownership import UNKNOWN, Ownership
from outbox.streams.declaration import Stream

log = structlog.get_logger(__name__)

LEAVE_SECONDS = 2.0
"""For taking leave of the groups, which is only tidiness."""


class End(Enum):
    """What is to be done with the entry. What is removed stays for as long as another group needs it."""

    DONE = "acknowledge"
    AGAIN = "acknowledge and remove: its message, if it is still wanted, comes again in another entry"
    HELD = "leave: it is another consumer's by now, or must be looked at again"
    UNKNOWN = "its message is not in the database: acknowledge and remove, unless it may be another outbox's"


async def release(entries: Entries, ownership: Ownership, entry: Entry, end: End) -> None:
    """Acknowledge, remove or leave the entry. May be repeated.

    :raises ForeignStream: its message is unknown, and its stream belongs to another outbox by now.
    """
    match end:
        case End.HELD:
            return
        case End.UNKNOWN:
            message = str(entry.sent.id) if entry.sent else None
            about = log.bind(stream=entry.stream.name, entry=entry.id, message=message)
            if await ownership.acknowledge_unknown(entry.stream, entry.id, entries.consumer):
                about.warning("unknown message, acknowledged: it was pruned or discarded")
            else:
                about.warning("unknown message, not acknowledged: it may be another outbox's", now_held_by=UNKNOWN)
        case End.DONE | End.AGAIN:
            await entries.acknowledge(entry.stream, entry.id, remove=end is End.AGAIN)


async def leave(entries: Entries, streams: Sequence[Stream]) -> None:
    """Take the consumer off the groups' lists, unless it holds entries. Never raises."""
    leaving = [asyncio.ensure_future(entries.leave(stream)) for stream in streams]
    for task in (await asyncio.wait(leaving, timeout=LEAVE_SECONDS))[1]:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
