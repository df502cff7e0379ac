"""Recoveries: what Redis lost and the relay took back, kept for operators to see."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from outbox.database import LENIENT, RECOVERIES, Database, Document
from outbox.operations.messages import plain
from outbox.operations.records import Moment, Whole, readable
from outbox.streams.declaration import Partition


@dataclass(frozen=True, slots=True)
class Recovery:
    """One partition's recovery: how many messages were made pending again, were settled, or had survived."""

    at: Moment
    partition: Partition
    verdict: str
    recovered: Whole
    settled: Whole
    kept: Whole

    def as_json(self) -> Document:
        return plain(
            {
                "at": self.at, "stream": self.partition.stream, "number": self.partition.number,
                "verdict": self.verdict, "recovered": self.recovered, "settled": self.settled, "kept": self.kept,
            }
        )  # fmt: skip


async def record(
    database: Database, partition: Partition, *, owner: str, verdict: str, recovered: int, settled: int, kept: int
) -> None:
    """Keep what one recovery did. One that a crash interrupted is recorded by nobody, or in parts."""
    await database[RECOVERIES].insert_one(
        {
            "at": (await database.command("hello"))["localTime"],
            "stream": partition.stream, "number": partition.number, "owner": owner,
            "verdict": verdict, "recovered": recovered, "settled": settled, "kept": kept,
        }
    )  # fmt: skip


async def latest(database: Database, limit: int = 10) -> list[Recovery]:
    """The latest recoveries, newest first."""
    records = database[RECOVERIES].with_options(codec_options=LENIENT)
    return await readable(records.find().sort("at", -1), understood, limit)


def understood(document: Document) -> Recovery:
    """What a document records. Raises ValueError when that cannot be read."""
    partition = {name: document.get(name) for name in ("stream", "number")}
    return _RECOVERY.validate_python({**document, "partition": partition})


_RECOVERY = TypeAdapter(Recovery)
