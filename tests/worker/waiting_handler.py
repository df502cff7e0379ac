"""A handler that waits until a test lets it go."""

from __future__ import annotations

import asyncio
from typing import Any


class Waiting:
    """Handlers wait until they may end. `calls`: the keys that they were called with."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.let_go = asyncio.Event()

    async def __call__(self, message: Any) -> None:
        self.calls.append(message.key)
        await self.let_go.wait()
