"""What requests and answers about streams are like: their numbers, and which are paused."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from outbox.operations import pausing
from outbox.operations.messages import plain
from outbox.streams.pauses import Pauses
from outbox_api.strict import Strict


class QueueView(BaseModel):
    """A stream in numbers; null: not known."""

    model_config = ConfigDict(json_schema_extra={"example": {"length": 12, "undelivered": 3, "unacknowledged": 1}})

    length: int | None = Field(description="entries in the stream")
    undelivered: int | None = Field(description="of those, given to no worker yet")
    unacknowledged: int | None = Field(description="given to a worker and not acknowledged")


class PauseView(BaseModel):
    """A stream that an operator has paused; null: not known."""

    stream: str
    at: str | None
    who: str
    reason: str | None


class PauseRequest(Strict):
    model_config = ConfigDict(json_schema_extra={"example": {"reason": "mail provider is down"}})

    reason: str | None = Field(default=None, max_length=pausing.MAX_REASON, description="for those who find it paused")


class PausesView(BaseModel):
    """The streams that are paused."""

    paused: list[PauseView]

    @classmethod
    def of(cls, pauses: Pauses) -> Self:
        found = [PauseView.model_validate(plain(pause.as_json())) for pause in pauses.paused.values()]
        return cls(paused=found)


class StreamQueueView(QueueView):
    """The same, and where it is in Redis."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "length": 12, "undelivered": 3, "unacknowledged": 1, "key": "staging:file_parsing_queue", "prefix":
                "staging:", "refused": None,
            }
        }
    )  # fmt: skip

    key: str = Field(description="of the stream in Redis")
    prefix: str = Field(description="how the keys of this outbox begin: OUTBOX_REDIS_PREFIX")
    refused: str | None = Field(description="why nothing is published there: it belongs to another outbox")
