"""Messages as a test looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pymongo
from bson import ObjectId

from outbox.database import Document
from outbox.message.document import State
from outbox.streams.declaration import Streams

IN_ORDER = [("position", pymongo.ASCENDING), ("_id", pymongo.ASCENDING)]
"""As they were appended."""


@dataclass(frozen=True, slots=True)
class Appended:
    """A message as it was stored when the test asked. `attempts` counts its publications, `stream` is the one it is in.

    Where a stream has priorities, shards or further groups, these have streams of their own.
    """

    id: ObjectId
    stream: str
    key: str
    fields: Mapping[str, str]
    headers: Mapping[str, str]
    state: State
    attempts: int
    available_at: datetime | None
    last_error: str | None

    @classmethod
    def of(cls, document: Document) -> Appended:
        return cls(
            document["_id"],
            document["stream"],
            document["key"],
            document["fields"],
            document["headers"],
            State(document["state"]),
            document["attempts"],
            document.get("available_at"),
            document.get("last_error"),
        )


def query(streams: Streams, stream: str, key: str | None) -> Document:
    """What finds the messages that were appended to `stream`, for all its groups and in all its priorities.

    :raises UndeclaredStream: the stream is not declared.
    """
    members = {member.name for name in streams.fan_out(stream) for member in streams.family(name)}
    found: dict[str, Any] = {"stream": {"$in": sorted(members)}}
    return found if key is None else found | {"key": key}
