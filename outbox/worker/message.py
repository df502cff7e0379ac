"""What a handler is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bson import ObjectId

from outbox.message.schema import Document


@dataclass(frozen=True, slots=True)
class Message:
    """A message in the hands of a worker. `attempt` counts its publications from 1; the id is the same at each."""

    id: ObjectId
    stream: str
    key: str
    fields: Mapping[str, str]
    headers: Mapping[str, str]
    attempt: int

    @classmethod
    def of(cls, document: Document, attempt: int) -> Message:
        return cls(
            document["_id"],
            str(document.get("stream")),
            str(document.get("key")),
            MappingProxyType(dict(document.get("fields") or {})),
            MappingProxyType(dict(document.get("headers") or {})),
            attempt,
        )
