"""Entries of others that can be no message: a worker of ours acknowledges them, and nobody does what they ask for."""

from __future__ import annotations

from outbox.delivery.entries import Entries
from outbox.errors import InvalidMessage
from outbox.operations.verify.findings import KEPT, Finding, System, named, number
from outbox.printable import printable
from outbox.streams.declaration import Stream
from outbox.worker.adoption import message_of
from outbox.worker.rescue import CONSUMER


async def entries_of_others(system: System) -> list[Finding]:
    findings = []
    for stream in system.streams.values():
        unfit: list[str] = []
        reason = ""
        async for page in Entries(system.redis, CONSUMER).walk(stream, "-", "+"):
            for entry in page:
                if entry.sent is None:
                    try:
                        message_of(entry)
                    except InvalidMessage as error:
                        unfit.append(entry.id)
                        reason = reason or printable(str(error))
            if len(unfit) >= KEPT:
                break
        if unfit:
            findings.append(_finding(stream, unfit[:KEPT], reason))
    return findings


def _finding(stream: Stream, ids: list[str], reason: str) -> Finding:
    return Finding(
        "entry-no-message",
        f"{number(len(ids), 'entry', 'entries')} of {stream.name} can be no message: {reason}",
        "another program added it. A worker of this library acknowledges it and does nothing; a worker that reads "
        "entries by itself gets it as it is",
        f"redis-cli XRANGE {stream.key} {ids[0]} {ids[0]} shows it. Let its producer append, or add text fields",
        len(ids), named(ids),
    )  # fmt: skip
