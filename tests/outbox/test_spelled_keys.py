"""A key may spell an id in another way than we do: the message is found by the id all the same."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from bson import Code, Decimal128, ObjectId
from pymongo import AsyncMongoClient

from outbox import Outbox, Stream, Streams, Subject
from outbox.database import OUTBOX, Database, Document, Place
from outbox.message import schema, subjects
from outbox.message.document import is_ours
from outbox.streams import identifiers

ID = UUID("01234567-89ab-cdef-0123-456789abcdef")
WHEN = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("id_type", "key", "id_"),
    [
        ("uuid", str(ID), ID), ("uuid", ID.hex, ID), ("uuid", str(ID).upper(), ID), ("double", "1.0", 1.0),
        ("decimal", "10.00", Decimal128("10")), ("date", WHEN.isoformat(), WHEN),
    ],
)  # fmt: skip
async def test_a_message_is_found_by_the_id_that_its_key_names(
    mongo: AsyncMongoClient[Document], database: str, id_type: str, key: str, id_: Any
) -> None:
    there = Database(mongo, database)
    subject = Subject("orders", "status", ["new"], id_type)
    outbox = Outbox(Streams([Stream("orders", "billing", subject=subject)]), database=database)
    await schema.ensure(there, outbox.streams)
    async with mongo.start_session() as session, await session.start_transaction():
        await outbox.append(session, "orders", {"a": "b"}, key=key)
    [message] = await there[OUTBOX].find(subjects.about([identifiers.checked(id_)])).to_list()
    assert message["key"] == key  # which is what order is kept by
    assert identifiers.same(subjects.ids_of(subject, message)[0]) == identifiers.same(identifiers.checked(id_))
    assert ("subject" in message) is (key != identifiers.as_text(identifiers.checked(id_)))


class Name(str, Enum):  # noqa: UP042  # as many applications have them; their str() is not their value
    REGION = "eu"
    ORDERS = "orders"
    BILLING = "billing"
    HIGH = "high"


@pytest.mark.parametrize("key", [Name.REGION, Code("eu")], ids=["an enum's member", "code"])
async def test_texts_of_other_classes_are_stored_as_the_text_that_they_are(
    mongo: AsyncMongoClient[Document], database: str, key: str
) -> None:
    """Or a subject would be stored that is no document's, and what is done would come again after a loss."""
    there = Database(mongo, database)
    subject = Subject(Name.ORDERS, Name.REGION, "new", "string")
    stream = Stream(Name.ORDERS, Name.BILLING, subject=subject, priorities=(Name.HIGH,))  # type: ignore[arg-type]
    outbox = Outbox(Streams([stream]), database=database)
    await schema.ensure(there, outbox.streams)
    async with mongo.start_session() as session, await session.start_transaction():
        await outbox.append(session, Name.ORDERS, {Name.REGION: Name.HIGH}, key=key, priority=Name.HIGH, unique=key)
    [message] = await there[OUTBOX].find(subjects.about(["eu"])).to_list()
    assert subjects.ids_of(subject, message) == ["eu"]
    assert (message["key"], message["stream"], message["fields"]) == ("eu", "orders:high", {"eu": "high"})
    assert (type(message["key"]), message["unique"], type(message["unique"])) == (str, "eu", str)


def test_names_of_other_classes_are_taken_for_the_text_that_they_are() -> None:
    streams = Streams([Stream(Name.ORDERS, Name.BILLING, groups=(Name.HIGH,), shards=2)])
    assert list(map(str, streams)) == ["orders", "orders:1", "orders:high", "orders:high:1"]
    assert {str(stream.group) for stream in streams.values()} == {"billing", "high"}
    subject = Subject(Name.ORDERS, Name.REGION, Name.HIGH, failure={Name.BILLING: Name.HIGH})
    assert (
        f"{subject.collection} {subject.field} {subject.wanted} {subject.failure}"
        == "orders eu high {'billing': 'high'}"
    )
    place = Place(Name.ORDERS, Name.REGION)
    assert f"{place.database} {place.prefix}" == "orders eu"


def test_code_for_a_key_names_nothing() -> None:
    """Others may have written it. Read, it is a kind of text that no set can hold."""
    message: Document = {"_id": ObjectId(), "key": Code("eu"), "attempts": 1}
    subject = Subject("orders", "status", ["new"], "string")
    assert not is_ours(message)
    assert subjects.ids_of(subject, message) == []
    assert subjects.about_the_same(subject, [message]) == subjects.about([])
    assert not subjects.by_subject(subject, [message], ["eu"])
