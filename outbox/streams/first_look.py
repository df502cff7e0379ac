"""The first look of a program that appends: is there an outbox, and are its streams as the program declares them?

A declaration that differs loses messages without an error: those for a group that it does not name are never made. It
is logged and not refused, as programs start while a stream is being changed; `Outbox.check` refuses it.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from bson import Int64
from pymongo.errors import OperationFailure, PyMongoError

from outbox.database import LENIENT, STREAMS, Database, Document, PlainDatabase
from outbox.errors import SchemaError, SettingsError, WrongDeclaration
from outbox.streams import registry
from outbox.streams.declaration import Streams

log = logging.getLogger(__name__)
"""The standard library's, and not structlog, which prints to stdout where the application has not set it up."""

_UNAUTHORIZED = 13
_NUMBERS = (int, Int64, float)


async def look(database: Database, declared: Streams) -> dict[str, float] | None:
    """The `unique_seconds` of each registered stream, which count at an append. None: it cannot be known now.

    :raises SchemaError: there is no outbox here.
    """
    streams = database[STREAMS].with_options(codec_options=LENIENT, **registry.NOW)
    try:
        documents: list[Document] | None = await streams.find().to_list()
    except PyMongoError as error:
        documents = _nothing(error)
    if documents == []:
        await registry.refuse_none(database)
    return _times(documents, declared)


def look_sync(database: PlainDatabase, declared: Streams) -> dict[str, float] | None:
    """The same for plain functions."""
    streams = database[STREAMS].with_options(codec_options=LENIENT, **registry.NOW)
    try:
        documents: list[Document] | None = streams.find().to_list()
    except PyMongoError as error:
        documents = _nothing(error)
    if documents == []:
        registry.refuse_none_sync(database)
    return _times(documents, declared)


def _nothing(error: PyMongoError) -> list[Document] | None:
    """Who may not look knows of no stream; who cannot now looks again."""
    return [] if isinstance(error, OperationFailure) and error.code == _UNAUTHORIZED else None


def _times(documents: list[Document] | None, declared: Streams) -> dict[str, float] | None:
    if documents is None:
        return None
    try:
        with suppress(SettingsError):
            registry.compare(declared, documents)
    except WrongDeclaration as error:
        log.warning("appending under another declaration: %s", error)
    except SchemaError:
        pass  # what others wrote there, or a later version
    known = [one for one in documents if isinstance(one["_id"], str) and type(one.get("unique_seconds")) in _NUMBERS]
    return {one["_id"]: one["unique_seconds"] for one in known}
