"""A replay leaves messages of streams alone that no relay drains: they would be pending, and then dead."""

from __future__ import annotations

from collections import Counter

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent, CommandSucceededEvent

from outbox import Priority, State, Stream
from outbox.database import OUTBOX, STREAMS, Database, Document
from outbox.operations import jobs, registration, replay, upkeep
from outbox.operations.jobs import Job, Phase
from outbox.operations.replay import Replayed
from outbox.operations.selection import Selection
from outbox.streams import registry
from tests.outbox.shelf import Shelf

FINISHED = Selection(states=(State.COMPLETED,))


class Removed:
    """A stream that was removed when all of it was done, beside one that is registered, with messages alike."""

    def __init__(self, shelf: Shelf, theirs: list[ObjectId], ours: list[ObjectId]) -> None:
        self.theirs, self.ours, self.states = theirs, ours, shelf.states

    async def are_left_alone(self) -> bool:
        theirs, ours = await self.states(*self.theirs), await self.states(*self.ours)
        return (set(theirs), set(ours)) == ({"completed"}, {"pending"})


@pytest.fixture
async def removed(db: Database, shelf: Shelf) -> Removed:
    await registry.register(db, [Stream("exports", "exporters")])
    theirs = await shelf.put(State.COMPLETED, 2, stream="exports", key="k", partition=0)
    ours = await shelf.put(State.COMPLETED, 3, key="k", partition=0)
    assert await replay.count(db, FINISHED) == 5
    await registration.remove(db, "exports")
    return Removed(shelf, theirs, ours)


@pytest.fixture(params=["all", "by key", "by id"])
def selection(request: pytest.FixtureRequest, removed: Removed) -> Selection:
    by_id = Selection(ids=(*removed.theirs, *removed.ours))
    return {"all": FINISHED, "by key": Selection(key="k"), "by id": by_id}[request.param]


async def finish(db: Database, limit: int = 2) -> Job:
    """Work on the one job that waits."""
    job = await jobs.claim(db, "a")
    assert job
    while job.open:
        after = await jobs.step(db, job, "a", limit=limit)
        assert after
        job = after
    return job


async def test_a_replay_leaves_a_removed_stream_alone(db: Database, removed: Removed, selection: Selection) -> None:
    assert await replay.count(db, selection) == 3
    assert await replay.replay(db, selection) == Replayed(3, 3)
    await upkeep.bury_strays(db)
    assert await removed.are_left_alone()


async def test_a_job_leaves_a_removed_stream_alone(db: Database, removed: Removed, selection: Selection) -> None:
    asked = await jobs.create(db, selection, who="anna", rate=1000)
    done = await finish(db)
    assert (asked.selected, done.phase, done.replayed) == (3, Phase.DONE, 3)
    assert await removed.are_left_alone()


async def test_a_job_leaves_a_stream_alone_that_was_removed_while_it_waited(db: Database, shelf: Shelf) -> None:
    await registry.register(db, [Stream("exports", "exporters")])
    ids = await shelf.put(State.COMPLETED, 2, stream="exports")
    await jobs.create(db, FINISHED, who="anna", rate=1000)
    await registration.remove(db, "exports")
    done = await finish(db)
    assert (done.selected, done.replayed) == (2, 0)
    assert await shelf.states(*ids) == ["completed"] * 2


async def test_nothing_is_selected_by_the_name_of_a_removed_stream(db: Database, removed: Removed) -> None:
    assert await replay.count(db, Selection(stream="exports")) == 0
    assert await replay.replay(db, Selection(stream="exports")) == Replayed(0, 0)


async def test_one_message_of_a_removed_stream_is_left_alone(db: Database, removed: Removed) -> None:
    assert [await replay.one(db, id_, who="anna") for id_ in (removed.theirs[0], removed.ours[0])] == [False, True]
    assert await removed.states(removed.theirs[0], removed.ours[0]) == ["completed", "pending"]


async def test_streams_of_priorities_shards_and_further_groups_are_registered_with_theirs(
    db: Database, shelf: Shelf
) -> None:
    await registry.register(db, [Stream("orders", "shop", priorities=(Priority.HIGH,), shards=2, groups=("billing",))])
    names = ["orders", "orders:high", "orders:1", "orders:billing", "orders:billing:1:high"]
    for name in names:
        await shelf.put(State.COMPLETED, stream=name, partition=0)
    assert await replay.replay(db, FINISHED) == Replayed(len(names), len(names))


@pytest.mark.parametrize("there", ["nothing", "a stream of a later version"])
async def test_what_is_registered_may_not_be_known(db: Database, shelf: Shelf, there: str) -> None:
    """Nothing is, in an outbox of the version before. And a relay goes on beside one of the next version."""
    if there == "nothing":
        await db[STREAMS].delete_many({})
    else:
        await db[STREAMS].insert_one({"_id": "later", "revision": 1, "group": "g", "priorities": ["urgent"]})
    ids = await shelf.put(State.COMPLETED, 3)
    assert await replay.count(db, FINISHED) == 3
    assert await replay.one(db, ids[0], who="anna")
    await jobs.create(db, FINISHED, who="anna", rate=1000)
    done = await finish(db)
    assert (done.phase, done.replayed) == (Phase.DONE, 2)
    assert await shelf.states(*ids) == ["pending"] * 3


class Reads(CommandListener):
    """How often each collection was read or written, and how much came back of the registry."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()
        self.documents = 0
        self._asked: set[int] = set()

    def started(self, event: CommandStartedEvent) -> None:
        name = event.command.get(event.command_name)
        self.of[f"{event.command_name} {name}"] += 1
        if name == STREAMS:
            self._asked.add(event.request_id)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        if event.request_id in self._asked:
            self.documents = max(self.documents, len(event.reply["cursor"]["firstBatch"]))

    def failed(self, event: object) -> None:
        pass


async def test_which_streams_are_registered_is_asked_once_a_page(db: Database, shelf: Shelf, mongodb_uri: str) -> None:
    await shelf.put(State.COMPLETED, 9)
    reads = Reads()
    async with AsyncMongoClient[Document](mongodb_uri, event_listeners=[reads], tz_aware=True) as client:
        watched = Database(client, db.name)
        await jobs.create(watched, FINISHED, who="anna", rate=1000)
        reads.of.clear()
        assert (await finish(watched, limit=3)).replayed == 9
        assert reads.of[f"update {OUTBOX}"] == 3
        assert (reads.of[f"find {STREAMS}"], reads.documents) == (3 + 1, 1)  # and the look for another page
        await shelf.messages.update_many({}, {"$set": {"state": "completed"}})
        reads.of.clear()
        assert await replay.replay(watched, FINISHED) == Replayed(9, 9)
        assert reads.of[f"find {STREAMS}"] == 1 + 1
