"""The order in which a program has its streams looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from outbox.streams.declaration import Stream
from tests.waiting import eventually
from tests.worker.workshop import Workshop


async def test_an_order_that_names_no_stream_is_asked_again(workshop: Workshop) -> None:
    asked: list[int] = []

    def order() -> Sequence[Stream]:
        asked.append(1)
        return [workshop.stream] if len(asked) > 2 else []

    async def handle(message: Any) -> None:
        await workshop.world.settle(message.key)

    [id_] = await workshop.publish("a")
    async with workshop.working(handle, order=order):
        await eventually(lambda: workshop.in_state("completed", id_))
