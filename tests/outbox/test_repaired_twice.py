"""A repair beside whoever does the same, or anything else to the file, at the same moment: it is queued once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect
from redis.asyncio import Redis

from outbox.database import FILES, OUTBOX, Document
from outbox.operations import audit
from outbox.operations.verify import Finding, System, subjects
from outbox.protocol.settled import complete_settled
from outbox.servers.clock import server_time
from outbox_api.uploads import reparse as reparsing
from outbox_api.uploads.reparse import reparse
from tests.outbox.shelf import Shelf
from tests.relay.world import World, a_world
from tests.waiting import PATIENCE

Meanwhile = Callable[["Scene"], Awaitable[object]]


class Scene:
    """Files that wait and have no message."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.database = world.database
        self.file = ""

    async def plant(self, count: int = 1) -> None:
        for _ in range(count):
            self.file = await Shelf(self.database).put_file("queued")

    async def find(self) -> Finding:
        """As each operator finds it, with no grace: what was just written is judged as well."""
        now, week = await server_time(self.database), timedelta(days=7)
        system = System(self.database, self.world.redis, self.world.streams, now, week, grace=timedelta(seconds=-5))
        [finding] = await subjects.subjects_wait_for_a_message(system)
        assert finding.check == "file-without-message"
        return finding

    async def repair(self) -> int:
        repair = (await self.find()).repair
        assert repair
        return await repair()

    async def keys(self) -> list[str]:
        return sorted([message["key"] async for message in self.database[OUTBOX].find()])

    async def parsing(self) -> str:
        return await Shelf(self.database).parsing(self.file)

    # -- what happens at the same moment

    async def repair_too(self) -> None:
        assert await self.repair() == 1

    async def reparse(self) -> None:
        await reparse(self.database, self.world.outbox, [ObjectId(self.file)])

    async def append(self) -> None:
        """As an application does: its own record, and a message with it."""
        async with self.world.client.start_session() as session, await session.start_transaction():
            change = {"$currentDate": {"updated_at": True}}
            await self.database[FILES].update_one({"_id": ObjectId(self.file)}, change, session=session)
            fields = {"file_id": self.file}
            await self.world.outbox.append(session, "file_parsing_queue", fields, key=self.file)

    async def settle(self) -> None:
        await self.world.settle(self.file)

    async def delete(self) -> None:
        await self.database[FILES].delete_one({"_id": ObjectId(self.file)})


@pytest.fixture
async def scene(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[Scene]:
    async with a_world(mongo, database, redis) as world:
        yield Scene(world)


def once_before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, happens: Callable[[], Any]) -> None:
    """Let something happen just before the function is called for the first time; in a transaction, if it can be."""
    whole = getattr(module, name)
    done: list[bool] = []

    async def then(*arguments: Any, **options: Any) -> Any:
        if not done and arguments[-1] is not None:
            done.append(True)
            await happens()
        return await whole(*arguments, **options)

    monkeypatch.setattr(module, name, then)


LAST_LOOK = [(subjects, "reparse"), (subjects, "_still_wait"), (reparsing, "complete_settled")]
"""What a repair calls after its last look outside of its transaction; in it between messages and files; and after."""
LOOKS = ["before its transaction", "between two looks", "in its transaction"]


async def repaired_beside(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile, module: Any, name: str
) -> int:
    """How many files a repair queues while that happens, right before it calls `name` of `module`."""
    await scene.plant()
    finding = await scene.find()
    once_before(monkeypatch, module, name, lambda: meanwhile(scene))
    assert finding.repair
    return await finding.repair()


@pytest.mark.parametrize(("module", "name"), LAST_LOOK, ids=LOOKS)
@pytest.mark.parametrize("meanwhile", [Scene.repair_too, Scene.reparse, Scene.append])
async def test_a_file_that_gets_a_message_at_the_same_moment_is_not_queued_by_a_repair(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile, module: Any, name: str
) -> None:
    assert await repaired_beside(scene, monkeypatch, meanwhile, module, name) == 0
    assert await scene.keys() == [scene.file]


@pytest.mark.parametrize(("module", "name"), LAST_LOOK, ids=LOOKS)
@pytest.mark.parametrize("meanwhile", [Scene.settle, Scene.delete])
async def test_nor_is_one_that_is_settled_or_deleted_then(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile, module: Any, name: str
) -> None:
    assert await repaired_beside(scene, monkeypatch, meanwhile, module, name) == 0
    assert await scene.keys() == []
    if meanwhile is Scene.settle:
        assert await scene.parsing() == "parsed"


async def test_the_other_files_are_queued_all_the_same(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.plant(3)
    finding = await scene.find()
    once_before(monkeypatch, reparsing, "complete_settled", scene.reparse)
    assert finding.repair
    assert await finding.repair() == 2
    assert len(set(await scene.keys())) == len(await scene.keys()) == 3


async def test_what_a_transaction_has_queued_that_did_not_happen_is_not_counted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server fails over, and somebody else is faster with the next."""
    await scene.plant()
    finding = await scene.find()
    look = subjects._without_open
    failed: list[bool] = []

    async def fail(*_: object, **__: object) -> None:
        failed.append(True)
        raise AutoReconnect("not primary", {"errorLabels": ["TransientTransactionError"]})

    async def then(*arguments: Any) -> Any:
        if failed:
            await scene.reparse()
        return await look(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(audit, "record", fail)
        patch.setattr(subjects, "_without_open", then)
        assert finding.repair
        assert await finding.repair() == 0
    assert await scene.keys() == [scene.file]


async def test_of_two_repairs_at_once_each_file_is_queued_by_one(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked, each in its transaction, before one of them writes."""
    monkeypatch.setattr(subjects, "QUEUED_TOGETHER", 10)
    await scene.plant(25)
    whole, looked, both = complete_settled, [], asyncio.Event()

    async def then(*arguments: Any) -> None:
        looked.append(True)
        if len(looked) == 2:
            both.set()
        async with asyncio.timeout(10 * PATIENCE):
            await both.wait()
        await whole(*arguments)

    monkeypatch.setattr(reparsing, "complete_settled", then)
    repairs = [(await scene.find()).repair for _ in range(2)]
    done = await asyncio.gather(*(repair() for repair in repairs if repair))
    assert sum(done) == 25
    assert len(set(await scene.keys())) == len(await scene.keys()) == 25
