"""A message: what is appended, what is stored, what becomes a stream entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from bson import Binary, Code, Int64, ObjectId, Timestamp, decode, encode
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from outbox.errors import InvalidMessage
from outbox.printable import printable
from outbox.streams.declaration import Stream
from outbox.streams.entry_ids import is_entry_id

SCHEMA_VERSION = 1
RESERVED = frozenset({"message_id", "attempt"})
"""Names that the relay itself adds to every entry."""

MAX_ATTEMPTS = 2**31 - 1
"""The validator's int. One more could not be recorded, and its message would be published again and again."""

MAX_FENCE = 10**15
"""No token of a lease comes near it, and what has fewer digits is compared exactly, also in Redis. A message with a
higher fence could be marked by nobody."""

MAX_STORED_BYTES = 9 * 1024 * 1024
"""More than anything that was appended can have grown to. Beyond MongoDB's 16 MB a mark would not fit."""

MAX_KEY_BYTES = 512
MAX_NAME_BYTES = 128
MAX_FIELDS = 64


class State(StrEnum):
    """Where a message is on its way: scheduled → pending → published → completed, or dead."""

    SCHEDULED = "scheduled"
    PENDING = "pending"
    PUBLISHED = "published"
    COMPLETED = "completed"
    DEAD = "dead"


class Sent(NamedTuple):
    """A message and the attempt under which it stands in the stream."""

    id: ObjectId
    attempt: int


def by_attempt(sent: Iterable[Sent]) -> dict[int, list[ObjectId]]:
    """The messages of each attempt, for updates that set it: one for all with the same."""
    ids: dict[int, list[ObjectId]] = {}
    for message in sent:
        ids.setdefault(message.attempt, []).append(message.id)
    return ids


def number(name: str) -> dict[str, Any]:
    """In a pipeline: what stands in field `name`, and 0 if that is no number.

    MongoDB calculates with numbers only. Without this, a message that was written around the library fails each
    update that counts something in it, and a retry of all ends at the first such message.
    """
    return {"$cond": [{"$isNumber": f"${name}"}, f"${name}", 0]}


class Message(NamedTuple):
    """A pending message as the relay sends it. A tuple, because one is made for every message: half the time."""

    id: ObjectId
    key: str
    fields: dict[str, str]
    headers: dict[str, str]
    attempts: int
    since: datetime | None = None
    """When it was appended, or due, by the clock of who appended it; for metrics alone."""
    size: int = 0
    """Bytes of the stored document, as far as it was read."""
    position: Timestamp = Timestamp(0, 0)
    """By which messages of one snapshot, and of one batch, are in order."""

    def entry(self) -> list[str]:
        """The stream entry: flat names and values. `attempt` counts from 1 and rises with all but a recovery."""
        flat: list[str] = []
        for name, value in self.fields.items():
            flat += (name, value)
        for name, value in self.headers.items():
            flat += (name, value)
        flat += ("message_id", str(self.id), "attempt", str(self.attempts + 1))
        return flat


def new_document(
    stream: Stream,
    fields: Mapping[str, str],
    *,
    key: str,
    headers: Mapping[str, str] | None,
    available_at: datetime | None,
    now: datetime,
    max_bytes: int,
    message_id: ObjectId | None = None,
    subject: Mapping[str, Any] | None = None,
    unique: str | None = None,
) -> dict[str, Any]:
    """The document to insert. Raises InvalidMessage with a text that says what to change.

    `subject` is `{"id": ...}`, the `_id` of what the message is about, if it was given to `append`; `unique` the value
    of which one message is enough.

    A message with `available_at` is always scheduled, even when that time has passed: whether it is due is decided by
    the server's clock, since the caller's may be wrong.
    """
    # Read once, so that what is checked is what is stored.
    fields, headers = _copy("field", fields), _copy("header", headers or {})
    _check_key(key)
    if unique is not None:
        _check_key(unique, "unique")
    size = _check_pairs("field", fields) + _check_pairs("header", headers) + (len(encode(subject)) if subject else 0)
    if not fields:
        raise InvalidMessage("fields is empty: a stream entry needs at least one field")
    if both := sorted(fields.keys() & headers.keys()):
        raise InvalidMessage(f"{both[0]!r} is both a field and a header: an entry is flat, so rename one of them")
    if size > max_bytes:
        raise InvalidMessage(
            f"the message has {size} bytes, more than the {max_bytes} allowed: "
            "store the contents elsewhere and send a reference, or raise OUTBOX_MAX_MESSAGE_BYTES"
        )
    if available_at is not None and not isinstance(available_at, datetime):
        raise InvalidMessage(
            f"available_at is {_a(available_at)}: pass a time, such as datetime.now(UTC) + timedelta(minutes=5)"
        )
    if available_at is not None and available_at.utcoffset() is None:
        raise InvalidMessage("available_at has no time zone: pass an aware datetime, such as datetime.now(UTC)")
    if available_at is not None:
        try:
            available_at.astimezone(UTC)
        except OverflowError:
            raise InvalidMessage(f"available_at ({available_at}) is not from the year 1 to 9999, in UTC") from None
    return {
        "_id": message_id or ObjectId(),
        "schema": SCHEMA_VERSION,
        "stream": stream.name,
        "partition": stream.partition_of(key),
        "key": key,
        # Empty, so that the server puts its own clock here: an order that no client's clock can disturb.
        "position": Timestamp(0, 0),
        "fields": fields,
        "headers": headers,
        "state": (State.SCHEDULED if available_at else State.PENDING).value,
        "attempts": 0,
        "last_error": None,
        "created_at": now,
        "available_at": available_at,
        **({"subject": subject} if subject else {}),
        **({"unique": unique} if unique is not None else {}),
    }


def read_document(raw: bytes) -> Message:
    """Decode one stored message, trusting nothing: it may have been written around the library.

    Raises InvalidMessage with the reason, which becomes the dead message's `last_error`.
    """
    if len(raw) > MAX_STORED_BYTES:
        raise InvalidMessage(f"the document has {len(raw)} bytes, more than {MAX_STORED_BYTES}: store it elsewhere")
    try:
        document = decode(raw, codec_options=_STRICT)
    except (BSONError, UnicodeError) as error:
        raise InvalidMessage(f"the document cannot be decoded: {error}") from error
    if not isinstance(document.get("_id"), ObjectId):
        raise InvalidMessage(f"_id must be an ObjectId, not {document.get('_id')!r:.80}")
    if (version := document.get("schema")) != SCHEMA_VERSION:
        raise InvalidMessage(f"schema version {version!r} is unknown here: this relay reads {SCHEMA_VERSION}")
    # For MongoDB, a list equals whatever is in it: this message would be drained from several partitions.
    if not isinstance(document.get("stream"), str) or not isinstance(document.get("partition"), int):
        raise InvalidMessage("stream and partition must be a string and a whole number")
    if not isinstance(document.get("position"), Timestamp):
        raise InvalidMessage("position must be a timestamp: append through the library, which sets it")
    # From the end, where they are: to look through a large message takes longer than to decode it.
    if raw.rfind(_ATTEMPTS, 0, raw.rfind(_ATTEMPTS)) >= 0 and len(encode(document)) != len(raw):
        raise InvalidMessage("a name is there twice: MongoDB compares the first attempts, and readers see the last")
    attempts = document.get("attempts")
    if not isinstance(attempts, int) or isinstance(attempts, bool) or not 0 <= attempts < MAX_ATTEMPTS:
        raise InvalidMessage(f"attempts must be a whole number from 0 and less than {MAX_ATTEMPTS}, not {attempts!r}")
    fence = document.get("fence")
    if fence is not None and not (isinstance(fence, int) and fence < MAX_FENCE):
        raise InvalidMessage(f"fence must be a whole number below {MAX_FENCE}, which relays set, not {fence!r:.80}")
    fields, headers, key = document.get("fields"), document.get("headers"), document.get("key")
    if not fields:
        raise InvalidMessage("fields is missing or empty: a stream entry needs at least one field")
    if not (type(key) is str and 0 < len(key) <= _PLAIN_KEY):
        key = _check_key(key)
    if not _plain(fields):
        _check_pairs("field", fields)
    if not _plain(headers):
        _check_pairs("header", headers)
    since = document.get("created_at")
    if document.get("available_at") is not None or not isinstance(since, datetime):
        times = [since, document.get("available_at")]
        since = max((time for time in times if isinstance(time, datetime)), default=None)
    return Message(document["_id"], key, fields, headers or {}, attempts, since, len(raw), document["position"])


def _plain(pairs: object) -> bool:
    """Whether decoded pairs are certainly right, which nearly all are: a tenth of the time of looking at each.

    What comes out of BSON is text that has a UTF-8 form, of at most four bytes a letter.
    """
    return type(pairs) is dict and (
        not pairs
        or (
            len(pairs) <= MAX_FIELDS
            and set(map(type, pairs.values())) == {str}
            and max(map(len, pairs)) <= _PLAIN_NAME
            and "" not in pairs
            and RESERVED.isdisjoint(pairs)
        )
    )


_ATTEMPTS = b"attempts\0"
_PLAIN_KEY, _PLAIN_NAME = MAX_KEY_BYTES // 4, MAX_NAME_BYTES // 4
_STRICT: CodecOptions[dict[str, Any]] = CodecOptions(
    dict, tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)


def is_ours(document: Mapping[str, Any]) -> bool:
    """Whether what was read of a published message has the types that this library gives it.

    One that has not was written around the library. No relay has published it, and nothing can be looked up by it.
    """
    id_, key, attempts = document["_id"], document.get("key", ""), document.get("attempts", 0)
    if not isinstance(id_, ObjectId) or type(key) is not str or type(attempts) not in (int, Int64):
        return False
    entries = document.get("entries")
    return entries is None or (
        isinstance(entries, dict) and all(is_entry_id(entries.get(name)) for name in ("first", "last"))
    )


def _check_key(key: object, what: str = "key") -> str:
    if not isinstance(key, str) or isinstance(key, Code) or not key:
        raise InvalidMessage(f"{what} must be a non-empty string, such as the file's id, not {key!r:.80}")
    if len(_utf8(what, key)) > MAX_KEY_BYTES:
        raise InvalidMessage(f"{what} is longer than {MAX_KEY_BYTES} bytes")
    return key


def _copy(kind: str, pairs: object) -> dict[str, str]:
    if not isinstance(pairs, Mapping):
        raise InvalidMessage(f"{kind}s must be a mapping of strings to strings, not {type(pairs).__name__}")
    copy = dict(pairs)
    if len(pairs) and not copy:
        raise InvalidMessage(f"{kind}s can be read only once, and were: pass a dict, for a transaction may run again")
    return copy


def _check_pairs(kind: str, pairs: object) -> int:
    """Check names and values; returns their size in bytes."""
    if not isinstance(pairs, Mapping):
        raise InvalidMessage(f"{kind}s must be a mapping of strings to strings, not {type(pairs).__name__}")
    if len(pairs) > MAX_FIELDS:
        raise InvalidMessage(f"more than {MAX_FIELDS} {kind}s: put the data where the worker can look it up")
    if pairs.keys() >= {"$ref", "$id"}:
        raise InvalidMessage(f"{kind}s named $ref and $id together are read as a reference: use other names")
    size = 0
    for name, value in pairs.items():
        if not isinstance(name, str) or not name:
            raise InvalidMessage(f"{kind} name {name!r:.80} must be a non-empty string")
        if "\0" in name:
            raise InvalidMessage(f"{kind} name {name!r:.80} has a NUL byte, and MongoDB takes none in a name")
        if name in RESERVED:
            raise InvalidMessage(f"{kind} {name!r} is added by the relay: use another name")
        if not isinstance(value, str) or isinstance(value, Code):
            raise InvalidMessage(
                f"{kind} {name!r} is {_a(value)}: stream entries hold strings only, so pass str(...) or JSON"
            )
        name_bytes = len(_utf8(f"{kind} name '{printable(name)[:40]}'", name))
        if name_bytes > MAX_NAME_BYTES:
            raise InvalidMessage(f"{kind} name {name[:40]!r}… is longer than {MAX_NAME_BYTES} bytes")
        size += name_bytes + len(_utf8(f"{kind} {name[:MAX_NAME_BYTES]!r}", value))
    return size


def _utf8(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"{what} cannot be encoded as UTF-8: {error.reason} at {error.start}") from None


def _a(value: object) -> str:
    return "bytes" if isinstance(value, bytes | Binary) else f"{type(value).__name__} {value!r:.40}"
