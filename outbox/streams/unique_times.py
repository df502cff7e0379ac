"""The first look of a program that appends: is there an outbox, and for how long does a unique message count?

What is registered counts, as for all in which declarations may differ: an operator sets it, by `outbox init`.
"""

from __future__ import annotations

from collections.abc import Iterable

from bson import Int64
from pymongo.errors import OperationFailure, PyMongoError

from outbox.database import LENIENT, STREAMS, Database, Document, PlainDatabase
from outbox.streams import registry

_UNAUTHORIZED = 13
_NUMBERS = (int, Int64, float)
_TIMES = {"t": "$unique_seconds"}


async def read(database: Database) -> dict[str, float] | None:
    """The `unique_seconds` of each registered stream, for programs that append. None: it cannot be known now.

    :raises SchemaError: there is no outbox here.
    """
    streams = database[STREAMS].with_options(codec_options=LENIENT, **registry.NOW)
    try:
        found = _times(await streams.find({}, _TIMES).to_list())
    except PyMongoError as error:
        return {} if isinstance(error, OperationFailure) and error.code == _UNAUTHORIZED else None
    if not found:
        await registry.refuse_none(database)
    return found


def read_sync(database: PlainDatabase) -> dict[str, float] | None:
    """The same for plain functions."""
    streams = database[STREAMS].with_options(codec_options=LENIENT, **registry.NOW)
    try:
        found = _times(streams.find({}, _TIMES).to_list())
    except PyMongoError as error:
        return {} if isinstance(error, OperationFailure) and error.code == _UNAUTHORIZED else None
    if not found:
        registry.refuse_none_sync(database)
    return found


def _times(documents: Iterable[Document]) -> dict[str, float]:
    """Of what others wrote there, nothing."""
    return {one["_id"]: one["t"] for one in documents if isinstance(one["_id"], str) and type(one.get("t")) in _NUMBERS}
