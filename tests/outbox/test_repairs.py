"""Between what verify finds and what it repairs the system goes on: what is not as it was found is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import OUTBOX, Document
from outbox.message.document import State
from outbox.operations import dead, replay
from outbox.operations.verify import Check, Finding, System, about_nothing, entries, subjects
from outbox.servers.clock import server_time
from tests.outbox.shelf import Shelf
from tests.relay.world import STREAM, World, a_world

Meanwhile = Callable[["Scene"], Awaitable[object]]


class Scene:
    """One file and its message, which something is wrong with."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.database = world.database
        self.shelf = Shelf(world.database)
        self.file = ""
        self.message = ObjectId()

    async def plant(self, parsing: str, state: State | None) -> None:
        self.file = await self.shelf.put_file(parsing) if parsing else str(ObjectId())
        if state:
            [self.message] = await self.shelf.put(state, key=self.file, partition=0)

    async def publish(self) -> list[str]:
        """A message that a relay has really published, and that its group was given; returns its entry."""
        self.file = str(ObjectId())
        [self.message] = await self.world.append(self.file)
        await (await self.world.owner()).drain_all()
        redis: Any = self.world.redis
        given = await redis.xreadgroup(STREAM.group, "w", {STREAM.name: ">"})
        return [entry for _, found in given for entry, _ in found]

    async def find(self, check: Check) -> Finding:
        """The one finding, with no grace: what was just written is judged as well."""
        now, week = await server_time(self.database), timedelta(days=7)
        system = System(self.database, self.world.redis, self.world.streams, now, week, grace=timedelta(seconds=-5))
        [finding] = await check(system)
        return finding

    async def all(self) -> list[Document]:
        return await self.database[OUTBOX].find().sort("_id").to_list()

    # -- what happens meanwhile

    async def complete(self) -> None:
        await self.shelf.messages.update_one({"_id": self.message}, {"$set": {"state": "completed"}})

    async def settle(self) -> None:
        await self.world.settle(self.file)

    async def append(self, state: State = State.PENDING) -> None:
        await self.shelf.put(state, key=self.file, partition=0)

    async def publish_again(self) -> None:
        """By another operator, and by a relay; a worker has it in hand then."""
        assert await replay.one(self.database, self.message, who="anna")
        await (await self.world.owner()).drain_all()
        assert await self.shelf.states(self.message) == ["published"]

    async def bring_back(self) -> None:
        await self.shelf.files.insert_one({"_id": ObjectId(self.file), "parsing": "queued", "version": 1})


@pytest.fixture
async def scene(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[Scene]:
    async with a_world(mongo, database, redis) as world:
        await world.database.files.insert_one({"parsing": "parsed", "version": 1})
        yield Scene(world)


async def left_alone(scene: Scene, finding: Finding, meanwhile: Meanwhile) -> None:
    await meanwhile(scene)
    before = await scene.all()
    assert finding.repair
    assert await finding.repair() == 0
    assert await scene.all() == before


def dealt_with_after(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, module: object, look: str, meanwhile: Meanwhile
) -> None:
    """What happens meanwhile does so when `look` has seen nothing of it."""
    whole = getattr(module, look)

    async def then(*arguments: Any) -> Any:
        found = await whole(*arguments)
        await meanwhile(scene)
        return found

    monkeypatch.setattr(module, look, then)


async def without_entry(scene: Scene, check: str) -> Finding:
    for entry in await scene.publish():
        if check == "entry-lost":
            await scene.world.redis.xdel(STREAM.name, entry)
        else:
            await scene.world.redis.xack(STREAM.name, STREAM.group, entry)
    finding = await scene.find(entries.entries)
    assert finding.check == check
    return finding


@pytest.mark.parametrize("check", ["entry-lost", "acknowledged-unfinished"])
@pytest.mark.parametrize("meanwhile", [Scene.complete, Scene.settle, Scene.publish_again])
async def test_a_message_whose_entry_is_gone_is_not_published_again_when_it_was_dealt_with_meanwhile(
    scene: Scene, check: str, meanwhile: Meanwhile
) -> None:
    await left_alone(scene, await without_entry(scene, check), meanwhile)


@pytest.mark.parametrize("meanwhile", [Scene.complete, Scene.publish_again])
async def test_nor_when_it_is_dealt_with_after_the_last_look(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile
) -> None:
    finding = await without_entry(scene, "entry-lost")
    dealt_with_after(scene, monkeypatch, entries, "_still_wanted", meanwhile)
    assert finding.repair
    assert await finding.repair() == 0


@pytest.mark.parametrize("check", ["entry-lost", "acknowledged-unfinished"])
async def test_a_message_whose_entry_is_gone_is_published_again(scene: Scene, check: str) -> None:
    finding = await without_entry(scene, check)
    assert finding.repair
    assert (await finding.repair(), await finding.repair()) == (1, 0)
    assert await scene.shelf.states(scene.message) == ["pending"]


@pytest.mark.parametrize("meanwhile", [Scene.settle, Scene.append, Scene.publish_again])
async def test_a_file_that_waits_after_its_message_is_not_worked_on_twice(scene: Scene, meanwhile: Meanwhile) -> None:
    await scene.plant("queued", State.COMPLETED)
    finding = await scene.find(subjects.subjects_wait_for_a_message)
    assert finding.check == "completed-but-waiting"
    await left_alone(scene, finding, meanwhile)


async def test_nor_when_an_older_message_of_it_is_on_its_way_by_then(scene: Scene) -> None:
    await scene.plant("queued", State.COMPLETED)
    await scene.append(State.COMPLETED)
    finding = await scene.find(subjects.subjects_wait_for_a_message)
    await left_alone(scene, finding, Scene.publish_again)


async def test_nor_when_another_operator_is_faster_after_the_last_look(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.plant("queued", State.COMPLETED)
    finding = await scene.find(subjects.subjects_wait_for_a_message)
    dealt_with_after(scene, monkeypatch, subjects, "_last_messages", Scene.publish_again)
    assert finding.repair
    assert await finding.repair() == 0


async def test_of_a_file_that_waits_the_message_is_replayed_that_is_the_last_by_then(scene: Scene) -> None:
    await scene.plant("queued", State.COMPLETED)
    finding = await scene.find(subjects.subjects_wait_for_a_message)
    [last] = await scene.world.append(scene.file)
    await scene.shelf.messages.update_one({"_id": last}, {"$set": {"state": "completed"}})
    assert finding.repair
    assert await finding.repair() == 1
    assert await scene.shelf.states(scene.message, last) == ["completed", "pending"]


@pytest.mark.parametrize("meanwhile", [Scene.settle, Scene.append])
async def test_a_file_without_a_message_is_not_queued_when_it_is_dealt_with_meanwhile(
    scene: Scene, meanwhile: Meanwhile
) -> None:
    await scene.plant("queued", None)
    finding = await scene.find(subjects.subjects_wait_for_a_message)
    assert finding.check == "file-without-message"
    await left_alone(scene, finding, meanwhile)


async def test_of_files_without_a_message_those_are_queued_that_still_have_none(scene: Scene) -> None:
    await scene.plant("queued", None)
    one = scene.file
    await scene.plant("queued", None)
    finding = await scene.find(subjects.subjects_wait_for_a_message)
    await scene.append()
    assert finding.repair
    assert await finding.repair() == 1
    assert sorted(message["key"] for message in await scene.all()) == sorted([one, scene.file])


@pytest.mark.parametrize("state", [State.PENDING, State.DEAD])
@pytest.mark.parametrize("meanwhile", [Scene.bring_back, Scene.complete])
async def test_a_message_about_nothing_does_not_end_when_its_document_is_back(
    scene: Scene, state: State, meanwhile: Meanwhile
) -> None:
    """As when a backup is restored collection by collection."""
    await scene.plant("", state)
    finding = await scene.find(about_nothing.messages_have_a_subject)
    assert finding.check == {State.PENDING: "message-without-file", State.DEAD: "dead-without-file"}[state]
    await left_alone(scene, finding, meanwhile)


async def test_a_dead_message_that_was_retried_meanwhile_does_not_keep_the_others(scene: Scene) -> None:
    await scene.plant("", State.DEAD)
    retried = scene.message
    await scene.plant("", State.DEAD)
    finding = await scene.find(about_nothing.messages_have_a_subject)
    await dead.retry(scene.database, scene.world.streams, retried)
    assert finding.repair
    assert await finding.repair() == 1
    assert [message["_id"] for message in await scene.all()] == [retried]
