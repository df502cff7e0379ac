"""Documents as nobody should write them: what other programs, repairs by hand and older versions leave in an outbox."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, encode
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument

from outbox.streams.declaration import FILES

GONE: Any = object()
"""Leaves a field out."""

BEYOND = DatetimeMS(2**62)
"""A date that Python cannot hold."""

LIMIT = 16 * 1024 * 1024
"""The most that MongoDB stores in one document."""


def document(**changes: Any) -> dict[str, Any]:
    """A good pending message, but for `changes`."""
    good: dict[str, Any] = {
        "_id": ObjectId(), "schema": 1, "stream": FILES.name, "partition": 0, "key": "k", "position": Timestamp(1, 1),
        "fields": {"file_id": "f"}, "headers": {}, "state": "pending", "attempts": 0,
    }  # fmt: skip
    return {name: value for name, value in {**good, **changes}.items() if value is not GONE}


def broken(before: bytes, **changes: Any) -> RawBSONDocument:
    """The same with a text in it whose bytes are no text: `before`, of the same length, is replaced."""
    raw = encode(document(**changes))
    assert raw.count(before) == 1
    return RawBSONDocument(raw.replace(before, b"\xff\xfe" * (len(before) // 2)))


def with_another(name: str, value: Any, **changes: Any) -> RawBSONDocument:
    """The same with a second field of the same name, behind all others."""
    raw, more = encode(document(**changes)), encode({name: value})
    body = raw[4:-1] + more[4:-1]
    return RawBSONDocument(struct.pack("<i", len(body) + 5) + body + b"\0")


def filled(name: str, size: int, **changes: Any) -> dict[str, Any]:
    """The same, of `size` bytes in all, by a text of that name."""
    made = document(**{name: "", **changes})
    made[name] = "x" * (size - len(encode(made)))
    assert len(encode(made)) == size
    return made


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"d": value}
    return value


DRAINED: Mapping[str, Any] = {
    "nothing but where it belongs": {"_id": ObjectId(), "stream": FILES.name, "partition": 0, "state": "pending"},
    "no schema": document(schema=GONE),
    "a schema of the future": document(schema=2),
    "a schema in words": document(schema="1"),
    "no position": document(position=GONE),
    "a date for a position": document(position=DatetimeMS(0)),
    "a list of positions": document(position=[Timestamp(1, 1), Timestamp(2, 1)]),
    "the last position of all": document(position=MaxKey()),
    "no key": document(key=GONE),
    "an empty key": document(key=""),
    "a number for a key": document(key=7),
    "a list of keys": document(key=["a", "b"]),
    "code for a key": document(key=Code("k")),
    "a long key": document(key="k" * 4000),
    "no fields": document(fields=GONE),
    "empty fields": document(fields={}),
    "a list of fields": document(fields=["a", "b"]),
    "nested fields": document(fields={"a": {"b": "c"}}),
    "deeply nested fields": document(fields=deep(90)),
    "a number in the fields": document(fields={"a": 1}),
    "bytes in the fields": document(fields={"a": Binary(b"\0\1")}),
    "code in the fields": document(fields={"a": Code("x", {"y": 1})}),
    "a date beyond Python in the fields": document(fields={"a": BEYOND}),
    "the relay's own names in the fields": document(fields={"message_id": "me", "attempt": "9"}),
    "a field without a name": document(fields={"": "x"}),
    "too many fields": document(fields={f"f{n}": "x" for n in range(5000)}),
    "headers that are text": document(headers="none"),
    "a number in the headers": document(headers={"traceparent": 1}),
    "attempts below none": document(attempts=-1),
    "attempts in words": document(attempts="1"),
    "attempts that are not a number": document(attempts=float("nan")),
    "attempts without end": document(attempts=float("inf")),
    "half an attempt": document(attempts=0.5),
    "attempts as a decimal": document(attempts=Decimal128("1")),
    "all attempts there are": document(attempts=2**31 - 1),
    "more attempts than there are": document(attempts=Int64(2**62)),
    "attempts twice": with_another("attempts", 7),
    "a partition with a fraction": document(partition=0.0),
    "in several partitions at once": document(partition=[0, 1, 2]),
    "in several streams at once": document(stream=[FILES.name, "another"]),
    "bad text in a key": broken(b"kkkk", key="kkkk"),
    "bad text in a value": broken(b"vvvv", fields={"file_id": "vvvv"}),
    "bad text in a name": broken(b"nnnn", fields={"nnnn": "f"}),
    "bad text in an id": broken(b"iiii", _id="iiii"),
    "bad text deep in an id": broken(b"iiii", _id={"a": "iiii"}),
    "code with bad text for an id": broken(b"iiii", _id=Code("iiii")),
    "a text for an id": document(_id="not an id"),
    "a number for an id": document(_id=float("nan")),
    "a date beyond Python for an id": document(_id=BEYOND),
    "a document for an id": document(_id={"a": 1, "b": [1]}),
    "nothing for an id": document(_id=None),
    "the first id of all": document(_id=MinKey()),
    "the last id of all": document(_id=MaxKey()),
    "bytes for an id": document(_id=Binary(b"0123456789ab")),
    "as large as can be, in the fields": filled("junk", LIMIT, fields={"file_id": "f" * 9_000_000}),
    "as large as can be, in the key": filled("key", LIMIT),
    "as large as can be, beside what matters": filled("junk", LIMIT, schema=7),
}
"""By what is wrong with them: pending, and found by a relay that drains their partition."""

STRAY: Mapping[str, Any] = {
    "no stream": document(stream=GONE),
    "no partition": document(partition=GONE),
    "a partition out of range": document(partition=FILES.partitions),
    "a partition below all": document(partition=-1),
    "a partition in words": document(partition="0"),
    "a partition that is not a number": document(partition=float("nan")),
    "a stream that is not declared": document(stream="unheard of"),
    "a number for a stream": document(stream=5),
    "a date beyond Python for a stream": document(stream=BEYOND),
    "a pattern for a stream": document(stream=Regex(".*")),
    "a stray with bad text for a stream": broken(b"ssss", stream="ssss"),
    "a stray with bad text in its id": broken(b"iiiiii", _id="iiiiii", partition=99),
    "a stray as large as can be": filled("junk", LIMIT, partition=99),
    "a stream as large as can be": filled("stream", LIMIT),
    "due at no time": document(state="scheduled", available_at=GONE),
    "due some day": document(state="scheduled", available_at="tomorrow"),
    "due at several times": document(state="scheduled", available_at=[DatetimeMS(0), DatetimeMS(1)]),
    "due by a clock of another kind": document(state="scheduled", available_at=Timestamp(1, 1)),
}
"""Those that no relay drains."""
