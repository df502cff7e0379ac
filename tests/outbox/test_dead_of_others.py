"""A message that others left no room for a change tells its subject when it dies, as any other does."""

from __future__ import annotations

import pytest
from bson import ObjectId

from outbox.database import OUTBOX
from outbox.message.outcome import Found
from outbox.message.poison import TOO_FULL
from tests.giants import fill_up
from tests.outbox.ward import Ward


async def a_giant(ward: Ward, tried: int = 1) -> ObjectId:
    """A published message without room, at one of its two attempts, in the hands of a worker that is silent."""
    [id_] = await ward.publish("a")
    for _ in range(1, tried):
        await ward.world.database[OUTBOX].update_one({"_id": id_}, {"$set": {"state": "pending"}})
        await ward.publish_again()
    await fill_up(ward.world.database[OUTBOX], id_)
    await ward.read()
    return id_


@pytest.mark.parametrize("tried", [1, 2], ids=["before its last attempt", "after it"])
async def test_what_a_silent_worker_holds(ward: Ward, tried: int) -> None:
    id_ = await a_giant(ward, tried)
    assert await ward.abandoned() == Found(dead=1)
    message = await ward.message(id_)
    assert message["state"] == "dead"
    assert TOO_FULL in message["last_error"]
    assert await ward.parsing("a") == f"error: {message['last_error']}"
    assert await ward.held() == 0


async def test_what_vanished(ward: Ward) -> None:
    [id_] = await ward.publish("a")
    await fill_up(ward.world.database[OUTBOX], id_)
    await ward.acknowledge(*await ward.read())
    assert await ward.vanished() == Found(dead=1)
    assert await ward.parsing("a") == f"error: {(await ward.message(id_))['last_error']}"


async def test_a_file_that_another_message_is_about_is_left_to_that_one(ward: Ward) -> None:
    id_ = await a_giant(ward)
    await ward.world.append("a")
    assert await ward.abandoned() == Found(dead=1)
    assert (await ward.message(id_))["state"] == "dead"
    assert await ward.parsing("a") == "queued"
