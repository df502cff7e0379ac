"""Records: documents that are kept for operators to see, as somebody may have left them.

One that others have written, or changed, is left out and must not hide the rest. `outbox verify` names it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import Strict

from outbox.database import Document

T = TypeVar("T")

Moment = Annotated[datetime, Strict()]
Whole = Annotated[int, Strict()]

A_TIME: Document = {"$gte": datetime.min.replace(tzinfo=UTC), "$lte": datetime.max.replace(tzinfo=UTC)}
"""A condition: a time that this language can hold. What is beyond, or of another type, would come before the newest."""


async def readable(found: AsyncIterable[Document], read: Callable[[Document], T], limit: int | None = None) -> list[T]:
    """The first `limit` of them that can be read: `read` raises ValueError of the others."""
    records: list[T] = []
    async for document in found:
        if len(records) == limit:
            break
        if (record := or_none(read, document)) is not None:
            records.append(record)
    return records


def or_none(read: Callable[[Document], T], document: Document) -> T | None:
    try:
        return read(document)
    except ValueError:
        return None
