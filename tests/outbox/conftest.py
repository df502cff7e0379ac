from __future__ import annotations

import pytest
from pymongo import AsyncMongoClient

from outbox import Streams, schema
from outbox.schema import Database, Document
from outbox.streams import FILES
from tests.outbox.shelf import Shelf


@pytest.fixture
def streams() -> Streams:
    return Streams([FILES])


@pytest.fixture
async def db(mongo: AsyncMongoClient[Document], database: str, streams: Streams) -> Database:
    """A database of this test's own, set up."""
    await schema.ensure(mongo[database], streams)
    return mongo[database]


@pytest.fixture
def shelf(db: Database) -> Shelf:
    return Shelf(db)
