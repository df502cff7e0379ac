"""Values of `_id`: of any type that BSON has, compared as MongoDB compares them, as text, and read from text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

from bson import Binary, Decimal128, Int64, ObjectId, Regex, Timestamp, decode, encode
from bson.binary import UUID_SUBTYPE, UuidRepresentation
from bson.codec_options import DEFAULT_CODEC_OPTIONS, CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps

from outbox.errors import InvalidMessage

MAX_TEXT_BYTES = 512
_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    dict, tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
_INT64 = 2**63


def checked(value: object, options: CodecOptions[Any] = DEFAULT_CODEC_OPTIONS) -> Any:
    """`value` as BSON keeps it. Raises InvalidMessage when it is none that `_id` can have.

    :param options: of the client that stores the value; a native UUID becomes what that client makes of it.
    """
    try:
        stored = as_stored(value, options)
    except ValueError as error:
        raise InvalidMessage(f"subject {value!r:.80} cannot be stored in MongoDB: {error}") from None
    if not acceptable(stored):
        raise InvalidMessage(
            f"subject {value!r:.80} is no value of _id: MongoDB takes no list, no regular expression, and no document "
            "with a name that begins with $; pass the _id of the document that the message is about"
        )
    return stored


def as_stored(value: object, options: CodecOptions[Any] = DEFAULT_CODEC_OPTIONS) -> Any:
    """`value` as MongoDB gives it back. Raises ValueError when it cannot be stored."""
    if options.uuid_representation == UuidRepresentation.UNSPECIFIED:
        options = options.with_options(uuid_representation=UuidRepresentation.STANDARD)
    try:
        return decode(encode({"": value}, codec_options=options), codec_options=_OPTIONS)[""]
    except (BSONError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error


def acceptable(value: object) -> bool:
    """Whether `_id` can have this value, so that a query by it compares, and does nothing else."""
    if isinstance(value, list | Regex | re.Pattern):
        return False
    return not isinstance(value, Mapping) or not any(str(name).startswith("$") for name in value)


def same(value: object) -> Hashable:
    """Equal for two values if and only if MongoDB takes them for the same `_id`: 1 and 1.0 are, 1 and true are not."""
    match value:
        case bool():
            return ("bool", value)
        case Decimal128():
            return _same_number(value.to_decimal())
        case int() | float():
            return _same_number(value)
        case str() if type(value) is str:
            return value
        case Mapping():
            return ("object", tuple((name, same(inner)) for name, inner in value.items()))
        case list() | tuple():
            return ("array", tuple(map(same, value)))
    standard = DEFAULT_CODEC_OPTIONS.with_options(uuid_representation=UuidRepresentation.STANDARD)
    return encode({"": value}, codec_options=standard)


def _same_number(value: float | Decimal) -> Hashable:
    nan = value.is_nan() if isinstance(value, Decimal) else value != value  # a signalling one cannot be compared
    return ("number", "NaN" if nan else value)


def as_text(value: object) -> str:
    """The text of an id, as a message's key has it. Of two ids that are the same, it is the same.

    An id of another type may have the same text.
    """
    text = _plain(value)
    encoded = text.encode(errors="surrogatepass")
    return text if len(encoded) <= MAX_TEXT_BYTES else f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def _plain(value: object) -> str:
    match value:
        case str() if type(value) is str:
            return value or '""'
        case bool() | None:
            return json.dumps(value)
        case int() | float() | Decimal128():
            return _number(value)
        case datetime():
            when = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
            return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case Binary(subtype=4):
            return str(UUID(bytes=bytes(value)))
        case bytes():
            subtype = value.subtype if isinstance(value, Binary) else 0
            return (f"{subtype}:" if subtype else "") + value.hex()
        case Timestamp():
            return f"{value.time}:{value.inc}"
        case Mapping():
            return "{" + ",".join(f"{json.dumps(name)}:{_inner(inner)}" for name, inner in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_inner, value)) + "]"
        case ObjectId():
            return str(value)
    return dumps(value, json_options=CANONICAL_JSON_OPTIONS)


def _inner(value: object) -> str:
    return json.dumps(value) if type(value) is str else _plain(value)


def _number(value: float | Decimal128) -> str:
    exact = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
    if exact.is_nan():
        return "NaN"
    if exact.is_infinite():
        return str(exact)
    if exact == exact.to_integral_value():
        return f"{exact.to_integral_value():f}" if exact else "0"
    near = float(exact)
    return repr(near) if isfinite(near) and Decimal(near) == exact else f"{exact:f}".rstrip("0")


def _read_int(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", text) or not -_INT64 <= int(text) < _INT64:
        raise ValueError
    return Int64(text)


def _read_date(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read


def _read_timestamp(text: str) -> Timestamp:
    time, _, inc = text.partition(":")
    return Timestamp(int(time), int(inc))


_READERS: dict[str, Callable[[str], Any]] = {
    # What is no ObjectId can be one in no reading: files of before the outbox may have other ids.
    "objectId": lambda text: ObjectId(text) if ObjectId.is_valid(text) else text,
    "string": str,
    "int": _read_int,
    "long": _read_int,
    "double": float,
    "decimal": Decimal128,
    "uuid": lambda text: Binary(UUID(text).bytes, UUID_SUBTYPE),
    "binData": bytes.fromhex,
    "bool": lambda text: {"true": True, "false": False}[text],
    "date": _read_date,
    "timestamp": _read_timestamp,
}
TYPES = tuple(_READERS)
"""The types of `_id` that can be declared, by MongoDB's names, and `uuid` for binary of subtype 4. An id of any other
type is passed to `append` itself."""


def read(text: str, id_type: str) -> Any:
    """The id of type `id_type` that `text` names. Raises ValueError when it names none."""
    try:
        return _READERS[id_type](text)
    except (ValueError, ArithmeticError, KeyError) as error:
        raise ValueError(f"{text!r:.80} is no {id_type}") from error


def readings(text: str) -> list[Any]:
    """All ids that `text` could name, of whatever type: to look for, and not to decide by."""
    found = {}
    for reader in _READERS.values():
        with suppress(ValueError, ArithmeticError, KeyError, BSONError):
            value = reader(text)
            found[same(value)] = value
    return list(found.values())
