"""Known streams: those of the registry that can be understood, for operators who look or mend.

Programs that append, publish or work do not start beside a document that they do not understand: a later version may
have registered a stream by it. Operators must be able to see what is wrong, and to go on with the other streams.
"""

from __future__ import annotations

from dataclasses import dataclass

from outbox.database import LENIENT, STREAMS, Database, Document
from outbox.streams import registry
from outbox.streams.declaration import Streams
from outbox.streams.registry import NotUnderstood, Registered


@dataclass(frozen=True, slots=True)
class Known:
    """`streams`: None when none is registered that can be understood. `faults`: of each of the other documents."""

    streams: Registered | None
    faults: tuple[NotUnderstood, ...]
    others: frozenset[str]
    """The names of streams that those may register."""


async def read(database: Database) -> Known:
    known: list[Document] = []
    faults: list[NotUnderstood] = []
    others: set[str] = set()
    for document in await database[STREAMS].with_options(codec_options=LENIENT).find().sort("_id").to_list():
        try:
            registry.load(document)
        except NotUnderstood as fault:
            faults.append(fault)
            others.add(str(document["_id"]))
        else:
            known.append(document)
    return Known(registry.understood(known), tuple(faults), frozenset(others))


async def agree(
    database: Database, declared: Streams, *, explicit: bool
) -> tuple[Registered, tuple[NotUnderstood, ...]]:
    """As `registry.agree`, of the streams that are known."""
    known = await read(database)
    # What is declared of the others can be compared with nothing.
    comparable = [stream for stream in declared.declared() if stream.name not in known.others]
    if not comparable:
        return registry.agreed(known.streams, declared, explicit=False), known.faults
    return registry.agreed(known.streams, Streams(comparable), explicit=explicit), known.faults
