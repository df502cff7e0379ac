"""An event loop in a thread of its own: what runs there is called from plain tests, and from async ones of any kind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Background:
    """A thread with an event loop, from its making until `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="outbox-testing", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, waited for. Raises what it raises."""
        result, left = self.submit(_whole(work)).result()
        if left is not None:
            raise left
        return cast(T, result)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _whole(work: Coroutine[Any, Any, T]) -> tuple[T | None, BaseException | None]:
    """What `work` returns, or its wish to leave the process: raised in an event loop, that would end it, unanswered."""
    try:
        return await work, None
    except (SystemExit, KeyboardInterrupt) as left:
        return None, left
