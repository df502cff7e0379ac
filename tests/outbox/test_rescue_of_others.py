"""What others have written among the messages stops no rescue of the rest."""

from __future__ import annotations

from typing import Any

from bson import ObjectId

from outbox.database import OUTBOX
from outbox.message.outcome import Found
from outbox.message.poison import TOO_FULL
from outbox.operations import dead
from tests.giants import fill_up
from tests.outbox.ward import SOON, Ward
from tests.waiting import eventually

KEYS = ("a", "b", "c", "d")


async def with_a_giant(ward: Ward) -> list[ObjectId]:
    """Four published messages, of which the second has no room for a change."""
    ids = await ward.publish(*KEYS)
    await fill_up(ward.world.database[OUTBOX], ids[1])
    return ids


async def is_dead(ward: Ward, giant: ObjectId) -> bool:
    message = await ward.message(giant)
    return message["state"] == "dead" and TOO_FULL in message["last_error"]


async def test_what_a_silent_worker_holds_beside_one_that_is_too_large(ward: Ward) -> None:
    ids = await with_a_giant(ward)
    await ward.read()
    assert await ward.abandoned() == Found(rescued=3, dead=1)
    assert await is_dead(ward, ids[1])
    assert await ward.held() == 0


async def test_what_vanished_beside_one_that_is_too_large(ward: Ward) -> None:
    ids = await with_a_giant(ward)
    await ward.acknowledge(*await ward.read())
    await ward.world.settle("c", "d")
    assert await ward.vanished() == Found(rescued=1, dead=1, settled=2)
    assert await is_dead(ward, ids[1])


async def test_what_is_settled_beside_one_that_is_too_large(ward: Ward) -> None:
    ids = await with_a_giant(ward)
    await ward.acknowledge(*await ward.read())
    await ward.world.settle(*KEYS)
    assert (await ward.vanished()).settled
    assert [(await ward.message(id_))["state"] for id_ in ids] == ["completed", "dead", "completed", "completed"]
    assert await ward.vanished() == Found()


async def test_what_is_retried_although_an_older_message_is_too_large(ward: Ward) -> None:
    ids = await with_a_giant(ward)
    await ward.world.settle("b")
    [dying] = await ward.world.append("b")
    await ward.world.database[OUTBOX].update_one({"_id": dying}, {"$set": {"state": "dead", "last_error": "x"}})
    await ward.world.database.files.update_one({"_id": "b"}, {"$set": {"parsing": "error: x"}})
    await dead.retry(ward.world.database, ward.world.streams, dying)
    assert (await ward.message(dying))["state"] == "pending"
    assert (await ward.message(ids[1]))["state"] == "published"


async def test_what_vanished_beside_one_that_counts_no_attempts(ward: Ward) -> None:
    ids = await ward.publish(*KEYS)
    await ward.acknowledge(*await ward.read())
    await ward.world.database[OUTBOX].update_one(
        {"_id": ids[0]}, {"$unset": {"attempts": ""}}, bypass_document_validation=True
    )
    assert await ward.vanished() == Found(rescued=3)


async def test_an_entry_of_others_is_not_lost_with_its_worker(ward: Ward) -> None:
    fields: dict[Any, Any] = {"file_id": "by hand"}
    await ward.owner.drain()
    await ward.world.redis.xadd(SOON.name, fields)
    await ward.read()
    await eventually(ward.cleared)
    [state] = (await ward.world.states()).values()
    assert state == "pending"
