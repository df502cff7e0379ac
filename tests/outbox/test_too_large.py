"""A message that has no room for a change: what operators ask for is done for the others, and names it."""

from __future__ import annotations

import pytest
from bson import ObjectId
from pymongo.errors import OperationFailure

from outbox import InvalidMessage, State, Streams
from outbox.database import JOBS, Database
from outbox.operations import audit, dead, jobs, replay
from outbox.operations.jobs import Phase
from outbox.operations.selection import Selection
from outbox_relay.replays import Replays
from outbox_relay.service import Next
from tests.giants import fill_up
from tests.outbox.shelf import Shelf

ROOM_FOR_ALL = {"$lt": [1, 0]}


async def with_a_giant(shelf: Shelf, state: State, **values: str) -> tuple[list[ObjectId], ObjectId]:
    """Five messages, and one of them that has no room."""
    ids = await shelf.put(state, 5, **values)
    await fill_up(shelf.messages, ids[2])
    return ids, ids[2]


@pytest.mark.parametrize("selection", [Selection(states=(State.COMPLETED,)), Selection(key="k")])
@pytest.mark.parametrize("limit", [1, 500])
async def test_a_job_leaves_it_out_and_the_audit_names_it(
    db: Database, shelf: Shelf, selection: Selection, limit: int
) -> None:
    ids, giant = await with_a_giant(shelf, State.COMPLETED, key="k")
    job: jobs.Job | None = await jobs.create(db, selection, who="anna", rate=1000)
    assert job
    job = await jobs.claim(db, "a", job=job.id)
    while job and job.open:
        job = await jobs.step(db, job, "a", limit=limit)
    assert job
    assert (job.phase, job.selected, job.matched, job.replayed, job.left_out) == (Phase.DONE, 5, 5, 4, 1)
    assert await shelf.states(*ids) == ["completed" if id_ == giant else "pending" for id_ in ids]
    [told] = [record for record in (await audit.page(db)).records if record.action == "replay left out"]
    assert (told.count, told.details["messages"]) == (1, [giant])


async def test_a_replay_in_one_call_leaves_it_out(db: Database, shelf: Shelf) -> None:
    _, giant = await with_a_giant(shelf, State.PUBLISHED)
    assert await replay.replay(db, Selection(states=(State.PUBLISHED,))) == replay.Replayed(5, 4)
    with pytest.raises(InvalidMessage, match=f"{giant} cannot be changed"):
        await replay.one(db, giant, who="anna")
    assert await shelf.states(giant) == ["published"]


async def test_it_cannot_be_retried_and_says_why(db: Database, streams: Streams, shelf: Shelf) -> None:
    ids, giant = await with_a_giant(shelf, State.DEAD)
    for id_ in ids:
        if id_ != giant:
            await dead.retry(db, streams, id_)
    with pytest.raises(InvalidMessage, match=f"{giant} cannot be changed: it is so large"):
        await dead.retry(db, streams, giant)
    assert await shelf.states(*ids) == ["dead" if id_ == giant else "pending" for id_ in ids]
    await dead.discard(db, streams, giant)
    assert await shelf.messages.count_documents({"_id": giant}) == 0


async def test_a_job_that_always_fails_lets_the_others_go_first(
    db: Database, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a message is filled up right after its page was read: MongoDB refuses the page."""
    monkeypatch.setattr(replay, "FULL", ROOM_FOR_ALL)
    _, giant = await with_a_giant(shelf, State.COMPLETED)
    [other] = await shelf.put(State.PUBLISHED)
    poisoned = await jobs.create(db, Selection(ids=(giant,)), who="anna", rate=1000)
    sound = await jobs.create(db, Selection(ids=(other,)), who="anna", rate=1000)
    replays = Replays(db, "a")
    with pytest.raises(OperationFailure):
        await replays.run_once()
    failed = await jobs.find(db, poisoned.id)
    assert failed.owner is None
    assert failed.failure
    while (await replays.run_once()).next is Next.AGAIN:
        pass
    assert (await jobs.find(db, sound.id)).phase is Phase.DONE
    assert await shelf.states(other) == ["pending"]
    await db[JOBS].update_one({"_id": poisoned.id}, {"$unset": {"not_before": ""}})  # half a minute later
    again = await jobs.claim(db, "b")
    assert again
    assert (again.id, again.failure) == (poisoned.id, None)
