"""A message of a stream without a subject is done when its entry was given to somebody who acknowledged it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest
from pymongo.errors import AutoReconnect
from structlog.testing import capture_logs

from outbox.database import OUTBOX, Document
from outbox.delivery import evidence
from outbox.delivery.entries import MARK
from outbox.delivery.evidence import Judged, judge
from outbox.delivery.trim import trim
from outbox.message.outcome import Found, put_back
from outbox.streams.declaration import Streams
from outbox.worker.rescue import Rescue
from outbox_relay.rescuer import Rescuer
from outbox_relay.trimmer import Trimmer
from tests.relay.ward import BARE, GROUP, NAME, Ward
from tests.relay.world import PARTITION


async def test_a_stream_that_was_deleted_while_young_and_filled_by_others_is_another_one(ward: Ward) -> None:
    await ward.publish(4)
    await ward.redis.delete(NAME)
    await ward.redis.xgroup_create(NAME, GROUP, id="0", mkstream=True)
    for _ in range(5):
        await ward.redis.xadd(NAME, {"by": "others"})
    await ward.ack(*await ward.read(9))
    assert (await ward.look()).completed == 0
    await ward.drain()
    again = [fields for _, fields in await ward.world.stream() if "message_id" in fields]
    assert [fields["attempt"] for fields in again] == ["1"] * 4


async def test_what_is_acknowledged_right_after_a_look_is_judged_before_it_is_trimmed(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ward.publish(3)
    first, *others = await ward.read(3)
    await ward.ack(first)

    async def and_then(*args: Any, **options: Any) -> Judged:
        judged = await judge(*args, **options)
        await ward.ack(*others)
        return judged

    with monkeypatch.context() as patch:
        patch.setattr("outbox.delivery.trim.judge", and_then)
        await ward.look()
    await ward.look()
    assert await ward.states() == "ccc"
    assert await ward.world.stream() == []


async def test_what_others_trimmed_before_it_was_given_comes_again(ward: Ward) -> None:
    await ward.publish(6)
    given, held = await ward.read(2)
    await ward.ack(given)
    await ward.look()
    await ward.redis.xtrim(NAME, maxlen=1, approximate=False)
    assert await ward.rescue() == Found(rescued=3)
    await ward.ack(held)
    await ward.drain()
    await ward.ack(*await ward.read(9))
    await ward.look()
    assert await ward.states() == "cpcccc"  # the second one was held when it vanished: nobody knows


async def test_without_rescues_what_others_removed_before_it_was_given_comes_again(ward: Ward) -> None:
    """And what workers delete is done where that is declared."""
    ids = [*await ward.publish(1), *await ward.publish(3, first=1)]
    await ward.ack(*await ward.read(1))
    await ward.redis.xdel(NAME, ids[0], ids[2])
    never = replace(BARE, rescue_seconds=0, gone_is_done=True)
    rescue = Rescue(ward.world.database, ward.redis)
    await Rescuer(Streams([never]), rescue, lambda: [PARTITION]).run_once()
    assert await ward.states() == "cpwp"


@pytest.mark.parametrize("all_of_it", [True, False])
async def test_what_others_deleted_before_it_was_given_comes_again(all_of_it: bool, ward: Ward) -> None:
    ids = await ward.publish(4)
    await ward.redis.xdel(NAME, *(ids if all_of_it else ids[1:2]))
    assert await ward.rescue() == Found(rescued=4 if all_of_it else 1)
    assert await ward.rescue() == Found()
    assert await ward.states() == ("wwww" if all_of_it else "pwpp")


async def test_a_second_deletion_before_the_first_is_seen_too(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream tells the first entry that is there and the last that was deleted. Neither moves."""
    monkeypatch.setattr("outbox.delivery.removed.LONG_SECONDS", 3600.0)  # no rest after a look that took long
    ids, rescue = await ward.publish(5), Rescue(ward.world.database, ward.redis)
    for deleted in (ids[3], ids[1]):
        await ward.redis.xdel(NAME, deleted)
        assert await rescue.vanished(BARE, PARTITION) == Found(rescued=1)
        assert await rescue.vanished(BARE, PARTITION) == Found()
    await ward.ack(*await ward.read(9))
    assert await rescue.vanished(replace(BARE, gone_is_done=True), PARTITION) == Found()
    assert await ward.states() == "pwpwp"


async def test_what_vanished_after_it_was_given_is_not_done(ward: Ward) -> None:
    """Perhaps a worker acknowledged and deleted it; perhaps somebody deleted it first. Nobody knows."""
    ids = await ward.publish(3)
    await ward.read(3)
    await ward.redis.xdel(NAME, ids[0])
    await ward.redis.xautoclaim(NAME, GROUP, "other", 0)  # forgets what was deleted
    await ward.ack(*ids[1:])
    await ward.look()
    assert await ward.rescue() == Found()
    assert await ward.states() == "pcc"
    assert await ward.world.stream() == []


async def test_what_is_read_without_acknowledgements_is_not_done(ward: Ward) -> None:
    await ward.publish(3)
    await ward.read(2, noack=True)
    with capture_logs() as logs:
        await Trimmer(ward.world.database, ward.redis, ward.world.streams).run_once()
    assert await ward.states() == "wwp"
    [told] = logs
    assert (told["log_level"], told["rescued"]) == ("warning", 2)
    await ward.drain()
    await ward.ack(*await ward.read(9))
    await ward.look()
    assert await ward.states() == "ccc"


async def test_what_comes_to_nothing_again_and_again_is_dead(ward: Ward) -> None:
    await ward.publish(1)
    once = replace(BARE, retry=replace(BARE.retry, attempts=1))
    await ward.read(1, noack=True)
    await trim(ward.world.database, ward.redis, once)
    assert await ward.states() == "d"


async def test_a_message_that_is_acknowledged_before_it_is_marked_is_done(ward: Ward) -> None:
    await ward.publish(1)
    unmarked = {"$set": {"state": "pending", "attempts": 0}}
    await ward.world.database[OUTBOX].update_many({}, unmarked)
    await ward.ack(*await ward.read(1))
    await ward.look()
    assert await ward.states() == "c"


@pytest.mark.parametrize("reason", ["acknowledged", "noack"])
async def test_many_are_judged_in_pages(reason: str, ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outbox.delivery.evidence.PAGE", 3)
    monkeypatch.setattr("outbox.delivery.evidence.HELD", 2)
    await ward.publish(10)
    ids = await ward.read(8, noack=reason == "noack")
    if reason == "noack":
        await ward.look()
        assert await ward.states() == "w" * 8 + "pp"
        return
    await ward.look()
    await ward.ack(*ids[2:7])
    await ward.look()
    assert await ward.states() == "pp" + "p" * 8  # beyond what is held and remembered, nothing is judged yet
    await ward.ack(ids[0])
    await ward.look()
    assert await ward.states() == "cp" + "c" * 5 + "ppp"
    await ward.ack(ids[1], ids[7])
    await ward.look()
    assert await ward.states() == "c" * 8 + "pp"


async def test_a_crash_after_a_look_loses_nothing_of_it(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    await ward.publish(3)
    await ward.ack(*(await ward.read(3))[:2])

    async def crash(*_: object) -> int:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr("outbox.delivery.evidence._complete", crash)
        with pytest.raises(ConnectionError):
            await ward.look()
    await ward.look()
    assert await ward.states() == "ccp"


async def test_what_was_put_back_after_a_look_is_not_put_back_again(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or relays that look in turns, each while another one is at it, never come to an end."""
    asked: list[str] = []

    async def count(database: Any, stream: Any, message: Document, *arguments: Any) -> Found:
        asked.append(message["key"])
        while len(asked) < 2:  # several at a time
            await asyncio.sleep(0)
        return await put_back(database, stream, message, *arguments)

    monkeypatch.setattr(evidence, "put_back", count)
    await ward.publish(4)
    await ward.look()
    await ward.read(3, noack=True)
    async with asyncio.timeout(30):
        with patch.object(evidence, "_complete", AsyncMock(side_effect=AutoReconnect("mine"))):
            with pytest.raises(AutoReconnect):
                await ward.look()
        assert await ward.states() == "wwwp"
        assert (await ward.look()).judged.found == Found()
    assert sorted(asked) == ["f000", "f001", "f002"]


async def test_an_idle_look_writes_nothing(ward: Ward) -> None:
    await ward.publish(3)
    await ward.ack(*(await ward.read(2)))
    await ward.look()
    before = (await ward.redis.info("persistence"))["rdb_changes_since_last_save"]
    await ward.look()
    assert (await ward.redis.info("persistence"))["rdb_changes_since_last_save"] == before


async def test_what_the_version_before_published_without_entries_is_completed_and_trimmed(ward: Ward) -> None:
    """More than a page of it, under one batch, as after the loss of a checkpoint; and read before anybody watched."""
    await ward.publish(30)
    await ward.ack(*await ward.read(30))
    await ward.world.database[OUTBOX].update_many({}, {"$unset": {"entries": ""}})
    await ward.redis.hdel("{file_parsing_queue}:outbox:stream", "look")
    await ward.redis.xgroup_delconsumer(NAME, GROUP, MARK)
    await ward.look()
    assert await ward.states() == "c" * 30
    assert await ward.world.stream() == []


async def test_what_workers_delete_is_done_where_that_is_declared(ward: Ward) -> None:
    """Once it is not held any more, and not before it was given."""
    ids = await ward.publish(5)
    await ward.read(3)
    await ward.publish(1, first=5)
    await ward.read(3)
    await ward.ack(*ids[:2], *ids[3:])
    await ward.redis.xdel(NAME, *ids)
    gone_is_done = replace(BARE, gone_is_done=True, rescue_seconds=1)
    rescue = Rescue(ward.world.database, ward.redis)
    assert await rescue.vanished(gone_is_done, PARTITION) == Found()
    await ward.ack(ids[2])
    assert await rescue.vanished(BARE, PARTITION) == Found()
    assert await rescue.vanished(gone_is_done, PARTITION) == Found(settled=5)
    assert await ward.states() == "cccccp"


async def test_after_the_loss_of_a_checkpoint_what_is_acknowledged_stays_done(ward: Ward) -> None:
    await ward.publish(25)
    await ward.redis.delete(BARE.checkpoint_key(0))
    await ward.drain()
    await ward.ack(*await ward.read(99))
    await ward.look()
    assert await ward.states() == "c" * 25
    await ward.redis.flushall()
    await ward.drain()
    assert await ward.world.stream() == []


async def test_after_a_lost_reply_what_is_acknowledged_stays_done(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    await ward.world.append("f0", "f1")
    owner = await ward.world.owner()

    async def lost(*_: object, **__: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(ward.world.store, "mark", lost)
        with pytest.raises(ConnectionError):
            await owner.drain_all()
    await owner.drain_all()
    await ward.ack(*await ward.read(2))
    await ward.look()
    assert await ward.states() == "cc"
    await ward.redis.flushall()
    await ward.drain()
    assert await ward.world.stream() == []
