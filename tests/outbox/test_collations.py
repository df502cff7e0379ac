"""A collection that the system before made with a collation of its own is adopted, and stays usable."""

from __future__ import annotations

from pymongo import AsyncMongoClient
from pymongo.collation import Collation

from outbox.database import FILES, Database, Document
from outbox.message import schema
from outbox.streams.declaration import FILES as FILES_STREAM
from outbox.streams.declaration import Streams
from outbox_api.collections import FILES_APPLICATION


async def test_indexes_have_the_collation_of_an_adopted_collection(
    mongo: AsyncMongoClient[Document], database: str
) -> None:
    there, streams = Database(mongo, database), Streams([FILES_STREAM])
    await mongo[database].create_collection(FILES, collation=Collation("en", strength=2))
    await mongo[database][FILES].insert_one({"parsing": "parsed"})
    await schema.ensure(there, streams, FILES_APPLICATION, adopt=[FILES])
    await schema.check(there, streams, FILES_APPLICATION)
    assert await schema.ensure(there, streams, FILES_APPLICATION) == []
