"""Additions: what others have given to our collections, and by which MongoDB deletes documents or mixes them up.

Other indexes of others are none of our business, and left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from outbox.database import Database
from outbox.message import installation
from outbox.message.collection import Part
from outbox.message.installation import Found

_DOES = {
    "capped": "is capped: MongoDB deletes its oldest documents, and takes no writes to it in a transaction",
    "expireAfterSeconds": "deletes documents by their age",
    "collation": "has a collation: names and keys that differ count as the same",
}
"""What an option of a collection leads to."""


async def look(database: Database, parts: Sequence[Part]) -> list[str]:
    """A line for each such index and option. Only reads."""
    there, _ = await installation.look(database, parts)
    return [line for found in there for line in (*_indexes(found), *_options(found))]


def _indexes(found: Found) -> list[str]:
    ours = {index.document["name"] for index in found.collection.indexes}
    return [
        f"index {found.name}.{name} deletes documents by their age"
        for name, index in found.indexes.items()
        if name not in ours and "expireAfterSeconds" in index
    ]


def _options(found: Found) -> list[str]:
    options = found.options or {}
    return [f"collection {found.name} {does}" for name, does in _DOES.items() if options.get(name)]
