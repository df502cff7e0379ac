"""A key may spell an id in another way than we do: the message is found by the id all the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from bson import Decimal128
from pymongo import AsyncMongoClient

from outbox import Outbox, Stream, Streams, Subject
from outbox.database import OUTBOX, Database, Document
from outbox.message import schema, subjects
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
