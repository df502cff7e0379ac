"""Which streams a worker reads that is not told: what its settings declare, or else what is registered."""

from __future__ import annotations

import pytest
from pymongo import AsyncMongoClient

from outbox.database import Database, Document
from outbox.errors import UndeclaredGroup, WrongDeclaration
from outbox.message import schema
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Priority, Stream, Streams
from outbox.worker.reading import streams_to_read

ORDERS = Stream("orders", "billing", groups=("mail",))
EXPORTS = Stream("exports", "exporters", priorities=(Priority.HIGH,))


@pytest.fixture
def there(mongo: AsyncMongoClient[Document], database: str) -> Database:
    return Database(mongo, database)


async def read(there: Database, group: str | None = None, **settings: object) -> list[str]:
    streams = await streams_to_read(there, load(OutboxSettings, **settings), None, group)
    return [stream.name for stream in streams]


async def test_without_a_declaration_it_is_the_only_registered_stream(there: Database) -> None:
    await schema.ensure(there, Streams([EXPORTS]))
    assert await read(there) == ["exports:high", "exports"]
    assert await read(there, "exporters") == ["exports:high", "exports"]


async def test_of_several_it_has_to_be_told(there: Database) -> None:
    """They may be another service's, whose messages this handler would complete."""
    await schema.ensure(there, Streams([ORDERS, EXPORTS]))
    with pytest.raises(WrongDeclaration, match="'exports', 'orders': say which to read with --stream"):
        await read(there)
    assert await read(there, "mail") == ["orders:mail"]
    assert await read(there, "exporters") == ["exports:high", "exports"]
    with pytest.raises(UndeclaredGroup, match="'nobody'"):
        await read(there, "nobody")


async def test_with_a_declaration_it_is_what_that_says(there: Database) -> None:
    await schema.ensure(there, Streams([ORDERS, EXPORTS]))
    declared = [{"name": "exports", "group": "exporters", "priorities": ["high"]}]
    assert await read(there, outbox_streams=declared) == ["exports:high", "exports"]
