"""Known streams: those of the registry that can be understood, for operators who look or mend.

Programs that append, publish or work do not start beside a document that they do not understand: a later version may
have registered a stream by it. Operators must be able to see what is wrong, and to go on with the other streams.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import LENIENT, STREAMS, Database, Document
from outbox.streams import registry
from outbox.streams.declaration import Streams
from outbox.streams.registry import NotUnderstood, Registered


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
    with suppress(NotUnderstood):
        return Known(registry.understood(documents), ())
    known: list[Document] = []
    faults: list[NotUnderstood] = []
    for document in documents:
        try:
            registry.understood([*known, document])  # it may be well by itself, and not beside another
        except NotUnderstood as fault:
            faults.append(fault)
        else:
            known.append(document)
    return Known(registry.understood(known), tuple(faults))


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
