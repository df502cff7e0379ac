"""Known streams: those of the registry that can be understood, for operators who look or mend.

Programs that append, publish or work do not start beside a document that they do not understand: a later version may
have registered a stream by it. Operators must be able to see what is wrong, and to go on with the other streams.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import LENIENT, STREAMS, Database, Document
from outbox.errors import SettingsError
from outbox.streams import registry
from outbox.streams.declaration import Stream, Streams
from outbox.streams.keys import record_key
from outbox.streams.registry import NotUnderstood, Registered

BESIDE = ":outbox:"
"""What stands in a key of a relay behind the stream's hash tag."""


@dataclass(frozen=True, slots=True)
class Known:
    """`streams`: None when none is registered that can be understood. `faults`: of each of the other documents."""

    streams: Registered | None
    faults: tuple[NotUnderstood, ...]

    def others(self, *, beside: str | None = None) -> list[re.Pattern[str]]:
        """What the streams are called that those documents may register, but for the one of the name `beside`."""
        # MongoDB searches for nothing that cannot be printed, and no stream is called so.
        return [named(one.name) for one in self.faults if one.name.isprintable() and one.name != beside]


def named(stream: str) -> re.Pattern[str]:
    """What a stream is called, and those of its groups, shards and priorities."""
    return re.compile(f"^{re.escape(stream)}(:|$)")


async def read(database: Database, session: AsyncClientSession | None = None) -> Known:
    streams = database[STREAMS].with_options(codec_options=LENIENT)
    documents = await streams.find(session=session).sort("_id").to_list()
    return sorted_out(documents)


def sorted_out(documents: Sequence[Document]) -> Known:
    """Of two that cannot be beside each other, the first one is known."""
    with suppress(NotUnderstood, SettingsError):
        Streams(registry.load(document) for document in documents)  # to name what is wrong would take longer
        return Known(registry.understood(documents), ())  # nearly always
    known: list[Document] = []
    faults: list[NotUnderstood] = []
    taken: defaultdict[str, list[int]] = defaultdict(list)
    for document in documents:
        try:
            registry.understood([document])
            # It may be well by itself, and not beside another. Beside all of them, thousands would take minutes.
            takes = _takes(registry.load(document))
            near = sorted({number for name in takes for number in taken.get(name, ())})
            if near:
                registry.understood([*(known[number] for number in near), document])
        except NotUnderstood as fault:
            faults.append(fault)
        else:
            for name in takes:
                taken[name].append(len(known))
            known.append(document)
    return Known(registry.understood(known), tuple(faults))


def _takes(stream: Stream) -> set[str]:
    """What two streams that cannot be beside each other both take: a name, or the key of a record in Redis, which is
    their own or, by what they are called, seems to be.
    """
    members = stream.members()
    beside = (member.key.rpartition(BESIDE)[0] for member in members)
    return {
        *(member.name for member in members), *(record_key(member.key) for member in members),
        *(record_key(tag) for tag in beside if tag),
    }  # fmt: skip


async def agree(
    database: Database, declared: Streams, *, explicit: bool
) -> tuple[Registered, tuple[NotUnderstood, ...]]:
    """As `registry.agree`, of the streams that are known."""
    known = await read(database)
    # What is declared of the others can be compared with nothing.
    others = {fault.name for fault in known.faults}
    comparable = [stream for stream in declared.declared() if stream.name not in others]
    if not comparable:
        return registry.agreed(known.streams, declared, explicit=False), known.faults
    return registry.agreed(known.streams, Streams(comparable), explicit=explicit), known.faults
