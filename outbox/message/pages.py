"""Pages: lists for people and programs, that end by the bytes they take as well as by their number.

A document may have 16 MB. However many such there are, whoever reads a page takes up a few megabytes of this process,
and of the answer. What is left out is on the next page; of a large document, its large values are left out by size.
"""

from __future__ import annotations

from typing import Any, cast

from bson import decode
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.collection import AsyncCollection

from outbox.database import LENIENT, Document
from outbox.message.poison import RAW

PAGE_BYTES = 2 * 1024**2
"""Beyond which a page takes no other document, in MongoDB's form."""

LARGE = 1024**2
"""Bytes of one document beyond which its large values are shown by their size alone."""

SMALL = 64 * 1024
"""The same, where only a few short values are shown."""

_VALUES = 64
"""Of a large document, so many values are shown, each of a 64th of its bytes at most: so they end, too."""


async def read(
    collection: AsyncCollection[Document],
    query: Document,
    *,
    limit: int,
    fields: Document | None = None,
    hint: str | None = None,
    newest_first: bool = True,
    large: int = LARGE,
    page_bytes: int = PAGE_BYTES,
) -> tuple[list[Document], bool]:
    """Up to `limit` documents by id, and whether there are more. At least one, if any matches.

    :param fields: a projection.
    """
    stages: list[Document] = [
        {"$match": query},
        {"$sort": {"_id": -1 if newest_first else 1}},
        {"$limit": limit + 1},
        *([{"$project": fields}] if fields else []),
        without_large_values(large),
    ]
    options: dict[str, Any] = {"hint": hint} if hint else {}
    raw = cast(AsyncCollection[RawBSONDocument], collection.with_options(codec_options=RAW))
    found: list[Document] = []
    size = 0
    async with await raw.aggregate(stages, **options) as cursor:
        async for document in cursor:
            size += len(document.raw)
            if len(found) == limit or (found and size > page_bytes):
                return found, True
            found.append(decode(document.raw, codec_options=LENIENT))
    return found, False


async def find(collection: AsyncCollection[Document], id_: Any, *, fields: Document | None = None) -> Document | None:
    """The document of this id, without its large values if it is large."""
    found, _ = await read(collection, {"_id": id_}, limit=1, fields=fields)
    return found[0] if found else None


def without_large_values(large: int) -> Document:
    """In MongoDB, so that they never come here: to take a large document apart takes many times its size."""
    size = {"$bsonSize": {"v": "$$field.v"}}
    told = {"$concat": ["(", {"$toString": size}, " bytes)"]}
    value = {"$cond": [{"$lte": [size, large // _VALUES]}, "$$field.v", told]}
    values = {
        "$map": {
            "input": {"$slice": [{"$objectToArray": "$$ROOT"}, _VALUES]},
            "as": "field",
            "in": {"k": "$$field.k", "v": value},
        }
    }
    return {
        "$replaceWith": {"$cond": [{"$lte": [{"$bsonSize": "$$ROOT"}, large]}, "$$ROOT", {"$arrayToObject": values}]}
    }
