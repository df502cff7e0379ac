"""Drafts: messages that are to be appended, and the documents that they become."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from bson import ObjectId
from bson.codec_options import CodecOptions
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession

from outbox.database import MAX_LIMIT
from outbox.errors import InvalidMessage, NoTransaction, SettingsError, UsageError
from outbox.message.document import new_document
from outbox.streams import identifiers
from outbox.streams.declaration import Priority, Stream, Streams


class Absent(Enum):
    """No subject is given. None would not do: it is an `_id` that a document can have."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is to be appended; see `Outbox.append`. Its id is known before, so that a record can name it."""

    fields: Mapping[str, str]
    key: str | None = None
    headers: Mapping[str, str] | None = None
    available_at: datetime | None = None
    id: ObjectId = field(default_factory=ObjectId)
    subject: object = ABSENT
    unique: str | None = None


def checked_limit(max_message_bytes: int) -> int:
    """The most bytes that a message may have. Raises SettingsError."""
    if type(max_message_bytes) is not int or max_message_bytes < 1:
        raise SettingsError(f"max_message_bytes needs a number of bytes, such as 262144, not {max_message_bytes!r:.40}")
    return min(max_message_bytes, MAX_LIMIT)


def check_session(session: object) -> None:
    """Raise NoTransaction unless `session` is one of PyMongo's, with an open transaction."""
    if not isinstance(session, AsyncClientSession | ClientSession):
        motor = type(session).__module__.startswith("motor.")
        instead = (
            "PyMongo's own AsyncMongoClient has taken Motor's place (in Beanie, since version 2): use a session of that"
            if motor
            else "pass what client.start_session() has given, or what with_transaction calls your function with"
        )
        raise NoTransaction(f"append needs the session of your transaction, not {type(session).__name__}: {instead}")
    if not session.in_transaction:
        raise NoTransaction(
            "append needs an open transaction, so that the message and the record that it is about are written "
            "together: call it inside session.with_transaction() or session.start_transaction()"
        )


def key_and_subject(draft: Draft, options: CodecOptions[Any]) -> tuple[str, Mapping[str, Any] | None]:
    """The message's key, and what is stored of its subject. Raises InvalidMessage."""
    if draft.subject is ABSENT:
        return _plain(draft.key), None  # what is no key is refused with the rest
    subject = {"id": identifiers.checked(draft.subject, options)}
    return identifiers.as_text(subject["id"]) if draft.key is None else _plain(draft.key), subject


def _plain(text: Any) -> Any:
    """What MongoDB stores of `text`: of an enum's member, `str()` gives another text, and names another subject."""
    return str.__str__(text) if isinstance(text, str) else text


def named_by_key(stream: Stream, key: str) -> Mapping[str, Any] | None:
    """What to store of the subject that the key names; None: nothing, the key is the text of its id as we write it.

    By another text of it, such as a UUID in capitals, nobody who has the id would find the message. Raises
    InvalidMessage when the key names none.
    """
    if stream.subject is None or stream.subject.id_type is None:
        return None
    try:
        id_ = identifiers.read(key, stream.subject.id_type)
    except ValueError as error:
        raise InvalidMessage(
            f"key {error}, which is the type of _id that the subject of stream {stream.family!r} declares: pass a key "
            "that is, or the _id itself as subject"
        ) from None
    return None if identifiers.as_text(id_) == key else {"id": id_}


def all_of(drafts: Collection[Draft]) -> list[Draft]:
    """The drafts, from what can give them again: a callback of `with_transaction` is called again after a conflict.

    A generator that was made in front of the callback is empty by then, and its record would be committed alone.
    """
    again = isinstance(drafts, Collection) and not isinstance(drafts, Iterator | Mapping)
    found = list(drafts) if again else []
    for draft in found:
        if not isinstance(draft, Draft):
            raise UsageError(
                f"append_many and append_each need a list of Draft(fields, key=...), not of {type(draft).__name__}"
            )
    if not again or len(found) != len(drafts):
        raise UsageError(
            f"append_many needs a list of drafts, not {type(drafts).__name__}: what can be read only once would be "
            "empty when the transaction is run again; pass [Draft(...), ...], or list(...) made in front of the "
            "transaction"
        )
    return found


def documents_of(
    drafts: Iterable[Draft],
    streams: Streams,
    stream: str,
    priority: str,
    options: CodecOptions[Any],
    max_bytes: int,
) -> list[dict[str, Any]]:
    """A message for each draft and each of the stream's groups; the first group's has the draft's id."""
    wanted, now = Priority.read(priority), datetime.now(UTC)
    first, *further = streams.fan_out(stream)
    documents = []
    for draft in drafts:
        key, subject = key_and_subject(draft, options)
        for name, id_ in [(first, draft.id), *((name, ObjectId()) for name in further)]:
            serving = streams.serving(name, wanted, key if isinstance(key, str) else "")
            about = subject if subject or not isinstance(key, str) else named_by_key(serving, key)
            document = new_document(
                serving, draft.fields, key=key, headers=draft.headers, available_at=draft.available_at, now=now,
                max_bytes=max_bytes, message_id=id_, subject=about, unique=_plain(draft.unique),
            )  # fmt: skip
            documents.append(document)
    return documents
