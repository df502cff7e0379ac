"""A job: what was asked for, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from bson import ObjectId
from pydantic import Field, FiniteFloat, InstanceOf, TypeAdapter

from outbox.database import Document
from outbox.operations.messages import plain
from outbox.operations.records import Moment, Whole
from outbox.operations.selection import Selection


class Phase(StrEnum):
    """Where a job is: waiting → running → done, or cancelled."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """A replay that was asked for.

    `before`: only what was published until then is replayed, so that nothing is twice by one job. `rate`: messages a
    second. `selected`: how many matched when it was asked for; None: they were not counted, see `replay.count`, and
    at the end it is how many were found. `matched`: how many have been found so far. `last`: how far the outbox has
    been looked through. `id_count`: how many ids were asked for. `left_out`: how many of what was found are so large
    that they cannot be changed; the audit names them. `failure`: why the last try came to nothing.
    """

    id: InstanceOf[ObjectId]
    who: str
    selection: InstanceOf[Selection]
    before: Moment
    rate: Annotated[FiniteFloat, Field(gt=0)]
    selected: Whole | None
    phase: Phase = Phase.WAITING
    replayed: Whole = 0
    matched: Whole = 0
    left_out: Whole = 0
    failure: str | None = None
    request: str | None = None
    id_count: Whole | None = None
    last: InstanceOf[ObjectId] | None = None
    owner: str | None = None
    created_at: Moment | None = None
    started_at: Moment | None = None
    finished_at: Moment | None = None

    @property
    def open(self) -> bool:
        """Whether there may be something left to do."""
        return self.phase in (Phase.WAITING, Phase.RUNNING)

    @property
    def shown(self) -> Document:
        """What was selected, for people: of many ids the first ones, and how many there are."""
        return self.selection.summary(self.id_count)

    @classmethod
    def of(cls, document: Document) -> Job:
        """What a document says. Raises ValueError when that cannot be read, or a later version selects by more."""
        selection = Selection.of(document.get("selection"))
        return _JOB.validate_python({**document, "id": document.get("_id"), "selection": selection})

    def as_json(self) -> dict[str, Any]:
        return plain(
            {
                "_id": self.id, "phase": self.phase.value, "who": self.who, "selected": self.selected,
                "replayed": self.replayed, "left_out": self.left_out, "failure": self.failure,
                "rate": self.rate, "selection": self.shown,
                "request": self.request and self.request.partition("/")[2], "owner": self.owner,
                "created_at": self.created_at, "started_at": self.started_at, "finished_at": self.finished_at,
            }
        )  # fmt: skip


_JOB = TypeAdapter(Job)
