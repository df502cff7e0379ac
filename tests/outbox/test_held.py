"""What a consumer holds for ever: freed where it is ours to free, and named everywhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from bson import ObjectId

from outbox.delivery import held
from outbox.delivery.entries import OURS
from outbox.delivery.trim import trim
from outbox.message.outcome import Found
from outbox.operations import stats
from tests.outbox.ward import SOON, Ward
from tests.waiting import eventually

LATE = replace(SOON, rescue_seconds=60)
"""A limit that a worker which has just read stays within, however slow this machine is."""


async def alive(ward: Ward, *forgotten: str, consumer: str = "worker-1") -> Found:
    """The worker has held `forgotten` for long, reads on, and acknowledges what it reads now; then a rescue looks."""
    await ward.publish(str(ObjectId()))
    new = await ward.read(consumer)
    await ward.acknowledge(*new)
    await ward.world.redis.xclaim(SOON.name, SOON.group, consumer, 0, [*forgotten], idle=90_000, justid=True)
    return await ward.rescue.abandoned(LATE)


async def test_what_a_live_worker_has_forgotten_is_published_again(ward: Ward) -> None:
    """As after it failed, or was started again under its name: it reads what is new, and nothing else."""
    [id_] = await ward.publish("a")
    [entry] = await ward.read()
    assert await alive(ward, entry) == Found(rescued=1)
    message = await ward.message(id_)
    assert (message["state"], message["rescued"]) == ("pending", 1)
    assert "'worker-1' has held it for" in message["last_error"]
    assert await ward.rescue._entries.look(SOON, [entry]) == [None]


async def test_a_live_worker_that_fails_every_time_ends_in_a_dead_message(ward: Ward) -> None:
    [id_] = await ward.publish("a")
    assert await alive(ward, *await ward.read()) == Found(rescued=1)
    await ward.publish_again()
    assert await alive(ward, *await ward.read()) == Found(dead=1)
    assert (await ward.message(id_))["last_error"].startswith("given up after 2 attempts: its worker 'worker-1'")


async def test_a_worker_of_ours_says_itself_what_it_works_on(ward: Ward) -> None:
    """It gives signs of life for each entry; while it lives, what it holds is its own affair."""
    [id_] = await ward.publish("a")
    assert await alive(ward, *await ward.read(f"{OURS}1"), consumer=f"{OURS}1") == Found()
    assert (await ward.message(id_))["state"] == "published"


@pytest.mark.parametrize("attempts", [None, 0, 1], ids=["gone", "restored", "restored later"])
async def test_an_entry_whose_message_is_gone_does_not_hold_up_trimming(attempts: int | None, ward: Ward) -> None:
    """Discarded, or MongoDB was restored from a backup: then it may know of an earlier attempt alone."""
    [id_] = await ward.publish("a")
    await ward.acknowledge(*await ward.read())
    await ward.world.database.outbox.update_one({"_id": id_}, {"$set": {"attempts": 2, "state": "pending"}})
    await ward.publish_again()  # under attempt 3
    await ward.read()
    if attempts is None:
        await ward.world.database.outbox.delete_one({"_id": id_})
    else:
        state = "published" if attempts else "pending"
        await ward.world.database.outbox.update_one({"_id": id_}, {"$set": {"attempts": attempts, "state": state}})

    async def cleared() -> bool:
        await ward.rescue.abandoned(SOON)
        return await ward.held() == 0

    await eventually(cleared)
    await ward.publish("b")
    await ward.acknowledge(*await ward.read("worker-2"))
    await trim(ward.world.database, ward.world.redis, SOON)
    assert await ward.world.entries() == []


async def test_an_entry_that_is_not_marked_yet_is_left_to_the_relay(ward: Ward) -> None:
    [id_] = await ward.publish("a")
    await ward.world.database.outbox.update_one({"_id": id_}, {"$set": {"attempts": 0, "state": "pending"}})
    [entry] = await ward.read()
    [known] = [one for one in await ward.rescue._entries.look(SOON, [entry]) if one]
    assert await ward.rescue._decide(SOON, [known], "silent") == Found()
    assert await ward.held() == 1


async def test_what_is_held_is_named_with_its_holder_and_what_frees_it(ward: Ward) -> None:
    """Of every group: one of others holds up trimming as well."""
    redis = ward.world.redis
    never = replace(SOON, rescue_seconds=0)
    await ward.publish("a", "b")
    await ward.read()
    await redis.xgroup_create(SOON.name, "audit", "0")
    streams: dict[Any, Any] = {SOON.name: ">"}
    await redis.xreadgroup("audit", "auditor", streams, count=1)
    none = await held.collect(redis, never)
    assert none == ()

    async def both() -> object:
        found = await held.collect(redis, SOON)
        return found if len(found) == 2 else None

    found: Any = await eventually(both)
    own, other = sorted(found, key=lambda one: one.group, reverse=True)
    assert (own.consumer, own.entries, other.group, other.consumer, other.entries) == (
        "worker-1", 2, "audit", "auditor", 1,
    )  # fmt: skip
    queue = await stats.queue(redis, ward.world.streams)
    assert {one.group for one in queue.held} == {"audit", SOON.group}
    await redis.execute_command(*other.command.split()[1:])  # type: ignore[no-untyped-call]
    assert {one.group for one in await held.collect(redis, SOON)} == {SOON.group}
