"""Paging: what comes one at a time, taken together, in flat memory."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import TypeVar

from outbox.servers.waiting import stop_if_cancelled

T = TypeVar("T")


async def in_pages(found: AsyncIterable[T], size: int) -> AsyncIterator[list[T]]:
    """All of `found`, so many together; the last page has fewer, and none is empty. None comes to a cancelled task."""
    page: list[T] = []
    async for one in found:
        page.append(one)
        if len(page) == size:
            stop_if_cancelled()
            yield page
            page = []
    if page:
        stop_if_cancelled()
        yield page
