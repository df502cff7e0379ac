"""Records: documents that are kept for operators to see, as somebody may have left them.

One that others have written, or changed, is left out and must not hide the rest. `outbox verify` names it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, TypeVar

from pydantic import Strict
from pymongo.asynchronous.cursor import AsyncCursor

from outbox.database import Document

T = TypeVar("T")

Moment = Annotated[datetime, Strict()]
Whole = Annotated[int, Strict()]


async def readable(found: AsyncCursor[Document], read: Callable[[Document], T], limit: int | None = None) -> list[T]:
    """The first `limit` of them that can be read: `read` raises ValueError of the others."""
    records: list[T] = []
    async with found:
        async for document in found:
            if (record := or_none(read, document)) is not None:
                records.append(record)
            if len(records) == limit:
                break
    return records


def or_none(read: Callable[[Document], T], document: Document) -> T | None:
    try:
        return read(document)
    except ValueError:
        return None
