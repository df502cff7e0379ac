"""Paging: what comes one at a time, taken together, in flat memory."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def in_pages(found: AsyncIterable[T], size: int) -> AsyncIterator[list[T]]:
    """All of `found`, so many together; the last page has fewer, and none is empty."""
    page: list[T] = []
    async for one in found:
        page.append(one)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
