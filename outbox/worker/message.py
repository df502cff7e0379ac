"""What a handler is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from bson import ObjectId

from outbox.database import Document
from outbox.errors import InvalidMessage
from outbox.message.subjects import NAMING, ids_of
from outbox.streams.declaration import Subject


@dataclass(frozen=True, slots=True)
class Message:
    """A message in the hands of a worker. `attempt` counts its publications from 1; the id is the same at each.

    `subject_id` is the `_id` of the document that it is about: as it was given to `append`, or as its key is read by
    the type that the stream's subject declares. None: neither was.
    """

    id: ObjectId
    stream: str
    key: str
    fields: Mapping[str, str]
    headers: Mapping[str, str]
    attempt: int
    subject_id: Any = None
    naming: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What is stored of the message by which its subject is found."""
    unique: str | None = None
    """The value of which one message is enough, if it was given to `append`."""

    @classmethod
    def of(cls, document: Document, attempt: int, subject: Subject | None = None) -> Message:
        """Raises InvalidMessage when the document's fields or headers are none."""
        for name in ("fields", "headers"):
            if not isinstance(document.get(name) or {}, Mapping):
                raise InvalidMessage(
                    f"{name} must be a document of strings, not {type(document[name]).__name__}: the message was "
                    "changed around the outbox after it was published"
                )
        ids = ids_of(subject, document) if subject else []
        return cls(
            document["_id"],
            str(document.get("stream")),
            str(document.get("key")),
            MappingProxyType(dict(document.get("fields") or {})),
            MappingProxyType(dict(document.get("headers") or {})),
            attempt,
            ids[0] if len(ids) == 1 else None,
            MappingProxyType({name: document[name] for name in NAMING if name in document}),
            document["unique"] if isinstance(document.get("unique"), str) else None,
        )
