"""What a program gives to a consumer beside its handler may fail without any message noticing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import pytest
from structlog.testing import capture_logs

from outbox.streams.declaration import Stream
from outbox.worker import Message
from tests.waiting import eventually
from tests.worker.workshop import Workshop


@pytest.mark.parametrize("error", [KeyError("label"), OSError("statsd is away")])
async def test_a_count_that_raises_is_logged_once_and_changes_nothing(error: Exception, workshop: Workshop) -> None:
    """In the place of a handler's failure, its message would be handled again and again, and never be put back."""

    def count(*_: object) -> NoReturn:
        raise error

    async def handle(message: Message) -> None:
        if message.key == "fails":
            raise ValueError("no such page")
        await workshop.world.settle(message.key)

    failing, *others = await workshop.publish("fails", "a", "b")
    with capture_logs() as logs:
        async with workshop.working(handle, count=count):
            await eventually(lambda: workshop.in_state("scheduled", failing))
            await eventually(lambda: workshop.in_state("completed", *others))
            await eventually(workshop.all_acknowledged)
    message = await workshop.message(failing)
    assert (message["failed"], message["attempts"]) == (1, 1)
    assert "no such page" in message["last_error"]
    assert len([line for line in logs if line["event"].startswith("count failed")]) == 1
    assert not [line for line in logs if "unavailable" in line["event"]]


async def test_while_an_order_raises_streams_are_read_by_turns(workshop: Workshop) -> None:
    def order() -> Sequence[Stream]:
        raise OSError("where the order is stored is away")

    async def handle(message: Message) -> None:
        await workshop.world.settle(message.key)

    [id_] = await workshop.publish("a")
    with capture_logs() as logs:
        async with workshop.working(handle, order=order):
            await eventually(lambda: workshop.in_state("completed", id_))
    assert len([line for line in logs if line["event"].startswith("order failed")]) == 1
    assert not [line for line in logs if "unavailable" in line["event"]]
