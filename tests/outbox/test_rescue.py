"""What is stuck at a worker is found, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from outbox.delivery import vanished
from outbox.delivery.entries import OURS, Entries
from outbox.message.document import Sent
from outbox.message.outcome import Found
from outbox.operations import replay
from outbox.protocol.ownership import Ownership
from outbox.protocol.script import Script
from outbox.streams.entry_ids import EntryId
from outbox.streams.keys import record_key
from outbox.worker import rescue
from outbox.worker.completion import Standing, look
from tests.outbox.ward import SOON, Ward
from tests.relay.world import PARTITION
from tests.waiting import eventually, pass_by


async def test_what_a_silent_worker_holds_is_published_again(ward: Ward) -> None:
    ids = await ward.publish("a", "b")
    await ward.read()
    assert await ward.abandoned() == Found(rescued=2)
    assert await ward.held() == 0
    assert await ward.world.entries() == []
    message = await ward.message(ids[0])
    assert (message["state"], message["attempts"], message["rescued"]) == ("pending", 1, 1)
    assert "worker-1" in message["last_error"]
    assert "entries" not in message
    await ward.publish_again()
    assert [entry["attempt"] for entry in await ward.world.entries()] == ["2", "2"]
    assert len(await ward.read("worker-2")) == 2
    assert await ward.vanished() == Found()


async def test_what_a_worker_has_not_held_for_long_is_left_alone(ward: Ward) -> None:
    [id_] = await ward.publish("a")
    await ward.read()
    assert await ward.rescue.abandoned(replace(SOON, rescue_seconds=60)) == Found()
    assert await ward.vanished() == Found()
    assert (await ward.message(id_))["state"] == "published"


async def test_an_entry_that_was_delivered_this_very_moment_keeps_its_time(ward: Ward) -> None:
    """It looks like one whose time lies ahead, as after a clock was set back, and a moment later it does not."""
    await ward.publish("a")
    [entry] = await ward.read()
    await pass_by(0.01)
    keys, ours = [SOON.key, record_key(SOON.key)], ward.world.ours
    assert await Script("ahead").run(ward.world.redis, keys, [SOON.group, 10, ours.claim, "", entry]) == [0, ""]
    assert await Ownership(ward.world.redis, ours).set_times_ahead(SOON) == 0


async def test_what_waits_its_turn_is_left_alone(ward: Ward) -> None:
    ids = await ward.publish(*"abcdef")
    await ward.acknowledge(*await ward.read(count=2))
    await ward.world.settle("a", "b")
    assert await ward.vanished() == Found(settled=2)
    assert await ward.vanished() == Found()
    assert [(await ward.message(id_))["state"] for id_ in ids] == ["completed"] * 2 + ["published"] * 4


@pytest.mark.parametrize("trimmed", [True, False])
async def test_an_entry_that_vanished_without_a_result_is_published_again(trimmed: bool, ward: Ward) -> None:
    [lost, kept] = await ward.publish("a", "b")
    entry, _ = await ward.read()
    await ward.acknowledge(entry)
    if trimmed:
        await ward.world.redis.xdel(SOON.name, entry)
    assert await ward.vanished() == Found(rescued=1)
    message = await ward.message(lost)
    assert message["state"] == "pending"
    assert ("gone from the stream" if trimmed else "without a result") in message["last_error"]
    assert (await ward.message(kept))["state"] == "published"


async def test_an_entry_of_which_it_is_not_known_where_it_stands_is_searched_for(ward: Ward) -> None:
    """As after a crash between publish and mark."""
    [a, b] = await ward.publish("a", "b")
    await ward.world.database.outbox.update_many({}, {"$unset": {"entries": ""}})
    await ward.read(count=1)
    assert await ward.vanished() == Found()
    assert {(await ward.message(id_))["state"] for id_ in (a, b)} == {"published"}


async def test_the_stream_is_searched_once_however_many_are_not_on_record(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outbox.delivery.vanished.PAGE", 3)
    monkeypatch.setattr("outbox.delivery.entries.WALK_PAGE", 4)
    await ward.publish(*(str(number) for number in range(20)))
    await ward.world.database.outbox.update_many({}, {"$unset": {"entries": ""}})
    taken = await ward.read(count=12)
    await ward.acknowledge(taken[-1])
    walks: list[tuple[str, str]] = []
    walk = Entries.walk

    def counted(entries: Entries, stream: Any, first: str, last: str) -> Any:
        walks.append((first, last))
        return walk(entries, stream, first, last)

    walk_all = Entries.walk_all

    def counted_all(entries: Entries, stream: Any, ranges: Any) -> Any:
        walks.extend(ranges := list(ranges))
        return walk_all(entries, stream, ranges)

    monkeypatch.setattr(Entries, "walk", counted)
    monkeypatch.setattr(Entries, "walk_all", counted_all)
    assert await ward.vanished() == Found(rescued=1)
    assert walks.count(("-", "+")) == 1
    walks.clear()
    assert await ward.vanished() == Found()
    assert ("-", "+") not in walks
    # The pages of the stream that hold what is due, however many messages wait beyond.
    assert max(EntryId.parse(last) for _, last in walks) <= EntryId.parse(taken[-1])


async def test_a_pass_goes_on_past_what_is_not_due_yet(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that survived a loss is in one batch, in no order. And a clock may have been set back."""
    monkeypatch.setattr("outbox.delivery.vanished.PAGE", 2)
    keys = [str(number) for number in range(8)]
    await ward.publish(*keys)
    taken = await ward.read(count=8)
    await ward.acknowledge(taken[-1])
    recent = {"$set": {"published_at": datetime.now(UTC)}}
    await ward.world.database.outbox.update_many({"key": {"$in": keys[:4]}}, recent)
    later = {"$set": {"published_at": datetime.now(UTC) + timedelta(days=1), "batch": 0}}
    await ward.world.database.outbox.update_one({"key": keys[4]}, later)
    assert await ward.rescue.vanished(replace(SOON, rescue_seconds=60), PARTITION) == Found(rescued=1)


async def test_what_was_published_a_moment_ago_is_left_alone(ward: Ward) -> None:
    [id_] = await ward.publish("a")
    await ward.world.database.outbox.update_one(
        {"_id": id_}, {"$set": {"published_at": datetime.now(UTC) + timedelta(hours=1)}}
    )
    await ward.acknowledge(*await ward.read())
    assert await ward.vanished() == Found()


async def test_a_later_message_does_not_make_one_done_that_was_never_settled(ward: Ward) -> None:
    [first] = await ward.publish("a")
    await ward.acknowledge(*await ward.read())
    [second] = await ward.publish("a")
    assert await ward.vanished() == Found(rescued=1)
    assert ((await ward.message(first))["state"], (await ward.message(second))["state"]) == ("pending", "published")


async def test_a_later_message_does_not_make_one_wanted_that_was_settled(ward: Ward) -> None:
    [first] = await ward.publish("a")
    await ward.acknowledge(*await ward.read())
    await ward.world.settle("a")
    [second] = await ward.publish("a")  # a reparse
    assert await ward.vanished() == Found(settled=1)
    assert ((await ward.message(first))["state"], (await ward.message(second))["state"]) == ("completed", "published")


async def test_an_acknowledgement_settles_what_is_about_a_file_that_was_deleted(ward: Ward) -> None:
    [id_] = await ward.publish("a")
    await ward.world.database.files.delete_one({"_id": "a"})
    assert await ward.vanished() == Found()  # it waits its turn
    await ward.acknowledge(*await ward.read())
    assert await ward.vanished() == Found(settled=1)
    assert (await ward.message(id_))["state"] == "completed"


async def test_what_is_about_a_deleted_file_comes_once_more_when_its_entry_is_gone(ward: Ward) -> None:
    """It was acknowledged and trimmed, or others have removed it. A worker that acknowledges it again has seen it."""
    [id_] = await ward.publish("a")
    await ward.world.database.files.delete_one({"_id": "a"})
    for found in (Found(rescued=1), Found(settled=1)):
        [entry] = await ward.read()
        await ward.acknowledge(entry)
        await ward.world.redis.xdel(SOON.name, entry)
        assert await ward.vanished() == found
        await ward.publish_again()
    assert (await ward.message(id_))["state"] == "completed"


async def test_beyond_the_limit_it_is_dead_and_its_file_says_so(ward: Ward) -> None:
    [id_] = await ward.publish("a")
    await ward.read()
    assert await ward.abandoned() == Found(rescued=1)
    await ward.publish_again()
    await ward.read()
    assert await ward.abandoned() == Found(dead=1)
    message = await ward.message(id_)
    assert (message["state"], message["attempts"], message["rescued"]) == ("dead", 2, 2)
    assert await ward.held() == 0
    assert (await ward.parsing("a")).startswith("error: given up after 2 attempts: its worker")


async def test_a_worker_that_died_after_its_work_has_only_its_entry_cleared(ward: Ward) -> None:
    [id_] = await ward.publish("a")
    await ward.read()
    await ward.world.settle("a")
    assert await ward.abandoned() == Found(settled=1)
    assert await ward.held() == 0
    assert (await ward.message(id_))["state"] == "completed"


async def test_two_relays_rescue_once(ward: Ward) -> None:
    """Also when one of them comes late, and has not acknowledged what it decided."""
    [id_] = await ward.publish("a")
    [entry] = await ward.read()
    found = await ward.rescue._entries.look(SOON, [entry])
    [known] = [one for one in found if one]
    assert await ward.abandoned() == Found(rescued=1)
    assert await ward.rescue._decide(SOON, [known], "late") == Found()
    await ward.publish_again()
    assert await ward.rescue._decide(SOON, [known], "late") == Found()
    message = await ward.message(id_)
    assert (message["state"], message["attempts"], message["rescued"]) == ("published", 2, 1)


@pytest.mark.parametrize("end", [vanished, rescue])
async def test_what_is_replayed_while_it_is_judged_is_not_completed_for_its_earlier_attempt(
    end: Any, ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is published again by then, as what was judged was; and its new entry waits for a worker."""
    [id_] = await ward.publish("a")
    entries = await ward.read()
    if end is vanished:
        await ward.acknowledge(*entries)
    await ward.world.settle("a")
    settled, replayed = end.settled, list[bool]()

    async def meanwhile(*arguments: Any) -> set[ObjectId]:
        done: set[ObjectId] = await settled(*arguments)
        if done and not replayed:
            replayed.append(await replay.one(ward.world.database, id_, who="an operator"))
            await ward.publish_again()
        return done

    monkeypatch.setattr(end, "settled", meanwhile)
    await (ward.vanished() if end is vanished else eventually(ward.cleared))
    assert replayed == [True]
    message = await ward.message(id_)
    assert (message["state"], message["attempts"]) == ("published", 2)


async def test_a_worker_of_ours_that_is_late_changes_nothing(ward: Ward) -> None:
    [id_] = await ward.publish("a")
    await ward.read(f"{OURS}1")
    assert await ward.abandoned() == Found(rescued=1)
    standing, _ = await look(ward.world.database, Sent(id_, 1))
    assert standing is Standing.SUPERSEDED


async def test_a_stream_that_is_gone_is_left_to_recovery(ward: Ward) -> None:
    [id_] = await ward.publish("a")
    await ward.world.redis.flushall()
    assert await ward.vanished() == await ward.rescue.abandoned(SOON) == Found()
    assert (await ward.message(id_))["state"] == "published"


async def test_many_are_gone_through_in_pages(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outbox.worker.rescue.PAGE", 3)
    monkeypatch.setattr("outbox.delivery.vanished.PAGE", 3)
    monkeypatch.setattr("outbox.delivery.entries.WALK_PAGE", 2)
    keys = [str(number) for number in range(10)]
    await ward.publish(*keys)
    taken = await ward.read(count=8)
    await ward.acknowledge(*taken[:4])
    await ward.world.settle(*keys[:2])
    assert await ward.vanished() == Found(settled=2, rescued=2)
    assert await ward.abandoned() == Found(rescued=4)
    assert await ward.held() == 0


async def test_what_is_done_and_replayed_survives_its_worker_once(ward: Ward) -> None:
    [id_] = await ward.publish("a")
    await ward.acknowledge(*await ward.read())
    await ward.world.settle("a")
    assert await ward.vanished() == Found(settled=1)
    assert await replay.one(ward.world.database, id_, who="operator")
    for expected in (Found(rescued=1), Found(settled=1)):
        await ward.publish_again()
        await ward.read()
        if expected.rescued:
            assert await ward.vanished() == Found(), "a worker has it"
        assert await ward.abandoned() == expected
