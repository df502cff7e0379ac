from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, ObjectId, Regex, Timestamp, encode
from hypothesis import given
from hypothesis import strategies as st

from outbox import InvalidMessage, Stream
from outbox.message.document import MAX_ATTEMPTS, RESERVED, new_document, read_document
from tests.strategies import examples

STREAM = Stream("s", "g", partitions=4)
NOW = datetime(2026, 1, 31, tzinfo=UTC)
BYTES = 64 * 1024

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
# BSON's own names cannot hold a NUL.
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20).filter(
    lambda name: name not in RESERVED
)
keys = text.filter(bool)


def document(fields: Any = None, *, key: Any = "k", headers: Any = None, **values: Any) -> dict[str, Any]:
    fields = {"file_id": "1"} if fields is None else fields
    at = values.pop("available_at", None)
    size = values.pop("max_bytes", BYTES)
    made = new_document(STREAM, fields, key=key, headers=headers, available_at=at, now=NOW, max_bytes=size)
    return made | values


def stored(**values: Any) -> bytes:
    """A document as the server keeps it: with a position."""
    return encode(document(position=Timestamp(1, 1)) | values)


@given(st.dictionaries(names, text, min_size=1, max_size=8), keys, st.dictionaries(names, text, max_size=4))
@examples(100)
def test_what_is_appended_is_what_is_read(fields: dict[str, str], key: str, headers: dict[str, str]) -> None:
    headers = {name: value for name, value in headers.items() if name not in fields}
    made = document(fields, key=key, headers=headers)
    message = read_document(encode(made | {"position": Timestamp(1, 1)}))
    assert (message.id, message.key, message.fields, message.headers) == (made["_id"], key, fields, headers)
    assert made["partition"] == STREAM.partition_of(key)

    entry = message.entry()
    pairs = dict(zip(entry[::2], entry[1::2], strict=True))
    assert pairs == fields | headers | {"message_id": str(made["_id"]), "attempt": "1"}
    assert len(pairs) == len(entry) / 2


def test_the_attempt_is_one_more_than_those_before() -> None:
    assert read_document(stored(attempts=2)).entry()[-2:] == ["attempt", "3"]


def test_a_message_is_pending_unless_it_has_a_time() -> None:
    assert document()["state"] == "pending"
    assert document(available_at=NOW)["state"] == "scheduled"


def test_the_server_gives_the_position() -> None:
    assert document()["position"] == Timestamp(0, 0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"fields": {}}, "fields is empty"),
        ({"fields": {"n": 1}}, r"field 'n' is int 1: .* str\(\.\.\.\) or JSON"),
        ({"fields": {"n": None}}, "field 'n' is NoneType"),
        ({"fields": {"n": b"x"}}, "field 'n' is bytes"),
        ({"fields": {1: "x"}}, "field name 1 must be"),
        ({"fields": {"": "x"}}, "field name '' must be"),
        ({"fields": {"attempt": "1"}}, "'attempt' is added by the relay"),
        ({"fields": {"a\0b": "1"}}, "has a NUL byte"),
        ({"fields": {"$ref": "1", "$id": "2"}}, "read as a reference"),
        ({"fields": {"n" * 129: "1"}}, "longer than 128 bytes"),
        ({"fields": {f"n{n}": "" for n in range(65)}}, "more than 64 fields"),
        ({"fields": [("a", "b")]}, "fields must be a mapping"),
        ({"fields": {"n": "\ud800"}}, "field 'n' cannot be encoded as UTF-8"),
        ({"fields": {"n": "x" * 100}, "max_bytes": 100}, "101 bytes, more than the 100"),
        ({"headers": {"message_id": "1"}}, "'message_id' is added by the relay"),
        ({"headers": {"h": 1}}, "header 'h' is int"),
        ({"headers": {"file_id": "1"}}, "both a field and a header"),
        ({"key": ""}, "key must be a non-empty string"),
        ({"key": ObjectId()}, "key must be a non-empty string"),
        ({"key": "ü" * 257}, "key is longer than 512 bytes"),
        ({"key": "\ud800"}, "key cannot be encoded"),
        ({"available_at": datetime(2026, 1, 1)}, "available_at has no time zone"),  # noqa: DTZ001
        ({"available_at": "tomorrow"}, r"available_at is str 'tomorrow': pass a time, such as datetime\.now"),
        ({"available_at": 0}, "available_at is int 0"),
        ({"available_at": NOW.date()}, "available_at is date"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_told_what_to_change(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidMessage, match=told):
        document(**arguments)


def test_a_size_is_counted_in_bytes_of_names_and_values() -> None:
    assert document({"n": "ü" * 10}, max_bytes=21)
    with pytest.raises(InvalidMessage, match="21 bytes"):
        document({"n": "ü" * 10}, max_bytes=20)


POISON: dict[str, dict[str, Any]] = {
    "unknown schema": {"schema": 2},
    "no schema": {"schema": None},
    "no position": {"position": None},
    "a date as position": {"position": NOW},
    "no fields": {"fields": None},
    "empty fields": {"fields": {}},
    "a list of fields": {"fields": ["a"]},
    "a reference as fields": {"fields": DBRef("files", 1)},
    "a number as value": {"fields": {"n": 1}},
    "bytes as value": {"fields": {"n": Binary(b"x")}},
    "a date that Python cannot hold": {"fields": {"n": DatetimeMS(2**62)}},
    "nested fields": {"fields": {"n": {"m": "x"}}},
    "a reserved name": {"fields": {"attempt": "1"}},
    "no headers": {"headers": None},
    "no key": {"key": None},
    "an empty key": {"key": ""},
    "an id of another type": {"_id": "text with spaces"},
    "negative attempts": {"attempts": -1},
    "attempts without end": {"attempts": Int64(2**63 - 1)},
    "attempts that cannot be counted on": {"attempts": MAX_ATTEMPTS},
    "a fraction of attempts": {"attempts": 0.5},
    "attempts true": {"attempts": True},
}


@pytest.mark.parametrize("values", POISON.values(), ids=POISON.keys())
def test_what_was_written_around_the_library_is_told_apart(values: dict[str, Any]) -> None:
    raw = stored(**values)
    with pytest.raises(InvalidMessage):
        read_document(raw)


@pytest.mark.parametrize("where", ["value", "field name", "key", "pattern", "name of a top field"])
def test_invalid_utf8_is_poison_wherever_it_stands(where: str) -> None:
    mark = "QQQ"
    values: dict[str, dict[str, Any]] = {
        "value": {"fields": {"n": mark}},
        "field name": {"fields": {mark: "x"}},
        "key": {"key": mark},
        "pattern": {"fields": {"n": Regex(mark)}},
        "name of a top field": {mark: 1},
    }
    raw = stored(**values[where]).replace(mark.encode(), b"\xff\xfe\xfd")
    with pytest.raises(InvalidMessage):
        read_document(raw)


anything: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        text,
        st.binary(max_size=20),
        st.integers(-(2**63), 2**63 - 1).map(DatetimeMS),
        st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
        st.builds(ObjectId),
        st.builds(Code, text, st.none() | st.just({"a": 1})),
        st.builds(Binary, st.binary(max_size=20), st.integers(0, 255)),
        st.just(Decimal128("NaN")),
        st.builds(DBRef, text, text),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
parts = st.sampled_from(["_id", "schema", "position", "key", "fields", "headers", "attempts", "else"])


@given(st.dictionaries(parts, anything, max_size=8), st.sets(parts))
@examples(100)
def test_whatever_is_stored_is_read_or_refused_and_nothing_else(values: dict[str, Any], missing: set[str]) -> None:
    full = document(position=Timestamp(1, 1)) | values
    raw = encode({name: value for name, value in full.items() if name not in missing - {"_id"}})
    with suppress(InvalidMessage):
        assert all(isinstance(word, str) for word in read_document(raw).entry())


@given(st.data())
@examples(100)
def test_damaged_bytes_are_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    raw = bytearray(stored(fields={"a": "b", "c": "dd"}, headers={"traceparent": "x"}))
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=4)):
        raw[at] = byte
    with suppress(InvalidMessage):
        read_document(bytes(raw))
