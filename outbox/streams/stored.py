"""Stored streams: the stream that a document of the registry registers, or what is wrong with the document."""

from __future__ import annotations

import json

from bson import Int64
from pydantic import TypeAdapter, ValidationError

from outbox.database import RELAYS, STREAMS, Document
from outbox.errors import SchemaError, SettingsError
from outbox.printable import shell_word
from outbox.streams.agreement import dump
from outbox.streams.declaration import Stream
from outbox.streams.identifiers import as_stored
from outbox.streams.limits import brought_within

_STREAM = TypeAdapter(Stream)


class NotUnderstood(SchemaError):
    """A document of the registry registers no stream that this version knows: what is wrong with it, and what to do.

    :param only_revision: all that it lacks is its revision.
    """

    def __init__(self, document: Document, reason: object, *, only_revision: bool = False) -> None:
        self.name = str(document["_id"])
        self.do = _what_to_do(document, only_revision)
        self.what = f"stream {document['_id']!r} in {STREAMS} cannot be understood: {reason}"
        super().__init__(f"{self.what}. {self.do}")


def _what_to_do(document: Document, only_revision: bool) -> str:
    by_hand = f"delete it from {STREAMS} with mongosh"
    if has_revision(document):
        return f"Use the version that registered it; or, if others wrote or changed it, {by_hand}"
    if only_revision:  # it was one of ours, and what waits in it must go on: it cannot be removed until then
        change = f"{{_id: {json.dumps(document['_id'])}}}, {{$set: {{revision: NumberInt(1)}}}}"
        return (
            f"Others took it away. Give it one with mongosh: db.{STREAMS}.updateOne({change}); a higher number where "
            f"relays report one, which db.{RELAYS}.find({{}}, {{revisions: 1}}) shows"
        )
    if isinstance(document["_id"], str):
        return (
            f"Others wrote or changed it. Remove it: outbox streams remove {shell_word(document['_id'])}; then, "
            "if a stream of this name is declared: outbox init"
        )
    return f"Others wrote it: {by_hand}"


def has_revision(document: Document) -> bool:
    """As each version writes it, later ones too."""
    return type(document.get("revision")) in (int, Int64)


def load(document: Document) -> Stream:
    """Raises NotUnderstood."""
    try:
        stream = _STREAM.validate_python({**brought_within(document), "name": document["_id"]})
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise NotUnderstood(document, "; ".join(faults)) from None
    except SettingsError as error:
        raise NotUnderstood(document, error) from None
    if not has_revision(document):
        raise NotUnderstood(document, "it has no revision", only_revision=True)
    return stream


def refuse_unreadable(stream: Stream) -> None:
    """Raise SettingsError when no program could read what would be registered: none would start from then on."""
    try:
        load(as_stored({"_id": stream.name, "revision": 1, **dump(stream)}))
    except (ValueError, NotUnderstood) as error:
        why = error.what if isinstance(error, NotUnderstood) else error
        raise SettingsError(f"stream {stream.name!r} cannot be registered as it is declared: {why}") from None
