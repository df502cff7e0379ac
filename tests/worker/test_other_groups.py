"""What another program's group has not read yet, or holds, stays in the stream, whatever becomes of the message."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import Document
from outbox.delivery.entries import OURS, Entries
from outbox.delivery.trim import trim
from outbox.message.outcome import Found
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Stream
from outbox.worker import GiveUp, Message
from outbox.worker.rescue import Rescue
from tests.relay.world import STREAM, a_world
from tests.waiting import eventually
from tests.worker.workshop import Workshop

AUDIT = "their_audit"  # the workshop looks at the first group by name, which is ours


async def gives_up(message: Message, session: Any) -> None:
    raise GiveUp("no use")


async def audit(workshop: Workshop) -> None:
    """A group of another program, which needs all that comes."""
    await workshop.world.redis.xgroup_create(workshop.stream.key, AUDIT, "0", mkstream=True)


async def given_to_audit(workshop: Workshop, count: int = 100) -> list[tuple[str, dict[str, str]]]:
    found: Any = await workshop.world.redis.xreadgroup(AUDIT, "theirs", {workshop.stream.key: ">"}, count=count)
    return [entry for _, entries in found for entry in entries]


async def ends_dead(workshop: Workshop, *keys: str) -> None:
    ids = await workshop.publish(*keys)
    async with workshop.working(gives_up):
        await eventually(lambda: workshop.in_state("dead", *ids))
        await eventually(workshop.all_acknowledged)


async def test_another_group_gets_the_entries_of_messages_that_have_died_and_then_they_are_trimmed(
    workshop: Workshop,
) -> None:
    await audit(workshop)
    await ends_dead(workshop, "a", "b")
    given = await given_to_audit(workshop)
    assert [fields["file_id"] for _, fields in given] == ["a", "b"]
    await trim(workshop.world.database, workshop.world.redis, workshop.stream)
    assert len(await workshop.world.entries()) == 2
    await workshop.world.redis.xack(workshop.stream.key, AUDIT, *(id_ for id_, _ in given))
    await trim(workshop.world.database, workshop.world.redis, workshop.stream)
    assert await workshop.world.entries() == []


async def test_what_another_group_works_on_keeps_its_content(workshop: Workshop) -> None:
    await audit(workshop)
    ids = await workshop.publish("a", "b")
    [done, held] = await given_to_audit(workshop)
    await workshop.world.redis.xack(workshop.stream.key, AUDIT, done[0])
    async with workshop.working(gives_up):
        await eventually(lambda: workshop.in_state("dead", *ids))
        await eventually(workshop.all_acknowledged)
    assert await workshop.world.stream() == [held]  # of the other one, it needs nothing any more


async def test_what_nobody_else_needs_is_removed_at_once(workshop: Workshop) -> None:
    await ends_dead(workshop, "a", "b")
    assert await workshop.world.entries() == []


async def test_a_message_that_comes_again_is_handled_once_more_beside_the_entry_that_stays(workshop: Workshop) -> None:
    await audit(workshop)
    calls = []

    async def handle(message: Message, session: Any) -> None:
        calls.append(message.attempt)
        if message.attempt == 1:
            raise ValueError("not yet")
        files = session.client[workshop.world.database.name].files
        await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

    [id_] = await workshop.publish("a")
    async with workshop.working(handle):
        await eventually(lambda: workshop.in_state("scheduled", id_))
        await workshop.world.database.outbox.update_one({"_id": id_}, {"$set": {"state": "pending"}})
        await workshop.owner.drain_all()
        await eventually(lambda: workshop.in_state("completed", id_))
        await eventually(workshop.all_acknowledged)
    assert calls == [1, 2]
    assert [fields["attempt"] for _, fields in await given_to_audit(workshop)] == ["1", "2"]


async def test_another_group_gets_an_entry_whose_message_is_gone(workshop: Workshop) -> None:
    [id_] = await workshop.publish("a")
    await audit(workshop)
    await workshop.world.database.outbox.delete_one({"_id": id_})
    async with workshop.working(gives_up):
        await eventually(workshop.all_acknowledged)
    assert len(await given_to_audit(workshop)) == 1


async def test_another_group_gets_an_entry_that_was_adopted_and_its_message_too(workshop: Workshop) -> None:
    await workshop.publish("a")
    await audit(workshop)
    await workshop.world.redis.xadd(workshop.stream.key, {"file_id": "theirs"})
    async with workshop.working(gives_up):
        await eventually(lambda: workshop.world.database.outbox.find_one({"key": "theirs"}))
        await eventually(workshop.all_acknowledged)
        await workshop.owner.drain_all()
        await eventually(workshop.all_acknowledged)
    given = [(fields["file_id"], "message_id" in fields) for _, fields in await given_to_audit(workshop)]
    assert given == [("a", True), ("theirs", False), ("theirs", True)]
    assert await workshop.world.database.outbox.count_documents({}) == 2


async def test_another_group_gets_what_is_rescued_from_a_dead_worker(workshop: Workshop) -> None:
    await audit(workshop)
    await workshop.publish("a")
    entries = Entries(workshop.world.redis, f"{OURS}gone")
    assert len(await entries.read([workshop.stream], 10)) == 1
    rescue, soon = Rescue(workshop.world.database, workshop.world.redis), replace(workshop.stream, rescue_seconds=0.001)
    await eventually(lambda: _rescued(rescue, soon))
    assert await workshop.unacknowledged() == 0
    assert len(await given_to_audit(workshop)) == 1


async def _rescued(rescue: Rescue, stream: Stream) -> bool:
    return await rescue.abandoned(stream) == Found(rescued=1)


async def test_where_nobody_may_ask_about_groups_nothing_is_removed(workshop: Workshop, redis_url: str) -> None:
    await audit(workshop)
    await workshop.publish("a")
    [entry] = await Entries(workshop.world.redis, "worker").read([workshop.stream], 1)
    user = f"test_{uuid4().hex[:12]}"
    await workshop.world.redis.acl_setuser(
        user, enabled=True, nopass=True, keys=["*"], commands=["+@all", "-xinfo|groups"]
    )  # fmt: skip
    try:
        async with Redis.from_url(redis_url, username=user, password="any", decode_responses=True) as limited:
            await Entries(limited, "worker").acknowledge(workshop.stream, entry.id, remove=True)
    finally:
        await workshop.world.redis.acl_deluser(user)
    assert await workshop.unacknowledged() == 0
    assert len(await given_to_audit(workshop)) == 1


async def test_without_a_subject_an_entry_that_stays_does_not_complete_what_has_failed(
    mongo: AsyncMongoClient[Document], mongodb_uri: str, database: str, redis: Redis, redis_url: str
) -> None:
    bare = Stream(STREAM.name, STREAM.group, partitions=1)
    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url)
    async with a_world(mongo, database, redis, [bare]) as world:
        workshop = Workshop(world, await world.owner(seconds=60), settings)
        await trim(world.database, redis, bare)  # begins to watch
        await audit(workshop)
        await ends_dead(workshop, "a")
        [id_] = await world.states()
        given = await given_to_audit(workshop)
        assert len(given) == 1
        await redis.xack(bare.key, AUDIT, given[0][0])
        assert (await trim(world.database, redis, bare)).removed == 1
        assert await world.states() == {id_: "dead"}
