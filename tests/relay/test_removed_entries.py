"""Entries that others removed before anybody was given them, ahead of a long backlog or in the midst of a batch."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import pytest
from bson import Timestamp
from pymongo.errors import AutoReconnect

from outbox.database import OUTBOX
from outbox.delivery import places
from outbox.delivery.entries import Entries
from outbox.delivery.removed import Removed
from outbox.message.outcome import Found, put_back
from outbox.worker.rescue import Rescue
from tests.relay.silence import Clock
from tests.relay.ward import BARE, Ward
from tests.relay.world import PARTITION


async def test_a_walk_that_took_long_is_not_made_again_at_once(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, walks, walk = Clock(), list[float](), Removed._walk

    async def slowly(*args: Any) -> Any:
        clock.now += 2
        walks.append(clock.now)
        return await walk(*args)

    monkeypatch.setattr("outbox.delivery.removed.time", clock)
    monkeypatch.setattr(Removed, "_walk", slowly)
    rescue = Rescue(ward.world.database, ward.redis)
    ids = await ward.publish(5)
    await ward.redis.xdel(BARE.key, ids[3])
    assert await rescue.vanished(BARE, PARTITION) == Found(rescued=1)
    await ward.redis.xdel(BARE.key, ids[1])
    clock.now += 39
    assert await rescue.vanished(BARE, PARTITION) == Found()
    clock.now += 1
    assert await rescue.vanished(BARE, PARTITION) == Found(rescued=1)
    assert len(walks) == 2


@pytest.mark.parametrize("batch_size", [1, 3], ids=["alone", "in a batch"])
async def test_what_was_deleted_is_found_while_workers_read_on(
    batch_size: int, ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they are given while a look goes on, and delete, counts as given. On a busy stream each look is so."""
    ids = [id_ for first in (0, 3) for id_ in await ward.publish(3, first=first, batch_size=batch_size)]
    await ward.redis.xdel(BARE.key, ids[4])
    find = places.find

    async def meanwhile(*arguments: Any) -> Any:
        given = await ward.read(1)
        await ward.ack(*given)
        await ward.redis.xdel(BARE.key, *given)
        return await find(*arguments)

    monkeypatch.setattr(places, "find", meanwhile)
    assert await ward.rescue() == Found(rescued=1)
    assert await ward.states() == "ppppwp"


async def _handled(ward: Ward, count: int, of: int) -> list[str]:
    """The entries of a batch; the group has handled some of the first, and deleted these."""
    ids = await ward.publish(of)
    given = await ward.read(count)
    await ward.ack(*given)
    await ward.redis.xdel(BARE.key, *given)
    return ids


async def test_what_was_handled_and_deleted_does_not_come_again_with_each_look(ward: Ward) -> None:
    """The message that came again is in its batch no longer, and its entry is missing still."""
    ids = await _handled(ward, 2, of=6)
    await ward.redis.xdel(BARE.key, ids[4])
    assert await ward.rescue() == Found(rescued=1)
    for _ in range(2):
        assert await ward.rescue() == Found()
    assert await ward.states() == "ppppwp"
    await ward.ack(*(given := await ward.read(1)))  # now the group stands elsewhere
    await ward.redis.xdel(BARE.key, *given)
    assert await ward.rescue() == Found()
    await ward.redis.xdel(BARE.key, ids[5])
    assert await ward.rescue() == Found(rescued=1)
    assert await ward.states() == "ppppww"


async def test_what_came_again_before_its_batch_was_begun_makes_no_other_come_again(ward: Ward) -> None:
    ids = await ward.publish(6)
    await ward.redis.xdel(BARE.key, ids[4])
    assert await ward.rescue() == Found(rescued=1)
    given = await ward.read(2)
    await ward.ack(*given)
    await ward.redis.xdel(BARE.key, *given)
    assert await ward.rescue() == Found()
    assert await ward.states() == "ppppwp"


async def test_a_worker_that_goes_on_during_a_long_look_hides_nothing_of_its_batch(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is looked at after that, a batch is looked at when it is met first."""
    monkeypatch.setattr("outbox.delivery.removed.PAGE", 6)
    ids = await _handled(ward, 2, of=6)
    more = await ward.publish(6, first=6)
    await ward.redis.xdel(BARE.key, ids[3], more[3])
    delivered, asked = places.delivered, list[None]()

    async def later(*arguments: Any) -> Any:
        asked.append(None)
        if len(asked) == 3:  # the first is asked before all else, and the second with the first batch
            await ward.ack(*await ward.read(1))
        return await delivered(*arguments)

    monkeypatch.setattr(places, "delivered", later)
    assert await ward.rescue() == Found(rescued=2)
    assert await ward.states() == "pppwpp" + "pppwpp"


async def test_two_that_look_at_once_take_nothing_else(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as an owner that slept. What one reads of a large batch may be of before and of after the other's look."""
    ids = await _handled(ward, 2, of=6)
    await ward.redis.xdel(BARE.key, ids[4])
    published, others = places.published, list[Found]()

    @asynccontextmanager
    async def torn(*arguments: Any, **where: Any) -> Any:
        async with published(*arguments, **where) as cursor:
            before = await cursor.to_list()
        if where and not others:
            others.append(Found())
            others.append(await ward.rescue())
            before = [message for message in before if message["key"] != "f004"]

        async def read() -> Any:
            for message in before:
                yield message

        yield read()

    monkeypatch.setattr(places, "published", torn)
    await ward.rescue()
    assert others[1] == Found(rescued=1)
    assert await ward.states() == "ppppwp"


async def test_what_workers_complete_during_a_look_hides_nothing(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = await ward.publish(6)
    await ward.read(2)
    await ward.redis.xdel(BARE.key, ids[4])
    walk = Entries.walk

    async def meanwhile(*arguments: Any) -> Any:
        await ward.world.database[OUTBOX].update_one({"key": "f000"}, {"$set": {"state": "completed"}})
        async for page in walk(*arguments):
            yield page

    monkeypatch.setattr(Entries, "walk", meanwhile)
    assert await ward.rescue() == Found(rescued=1)
    assert await ward.states() == "cpppwp"


async def test_a_look_that_is_interrupted_leaves_the_next_one_as_wise(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await _handled(ward, 2, of=6)
    await ward.redis.xdel(BARE.key, ids[3], ids[4])
    first = list[Any]()

    async def once(*arguments: Any) -> Found:
        if first:
            raise AutoReconnect("mine")
        first.append(arguments)
        return await put_back(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("outbox.delivery.removed.put_back", once)
        with pytest.raises(AutoReconnect):
            await ward.rescue()
    await ward.rescue()
    assert await ward.states() == "pppwwp"


async def test_a_batch_is_looked_at_as_a_whole(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outbox.delivery.removed.PAGE", 2)
    ids = await _handled(ward, 4, of=6)
    await ward.redis.xdel(BARE.key, ids[4])
    assert await ward.rescue() == Found(rescued=1)
    assert await ward.states() == "ppppwp"


async def test_what_is_deleted_during_a_look_makes_no_other_come_again(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await _handled(ward, 2, of=6)
    await ward.redis.xdel(BARE.key, ids[4])
    find = places.find

    async def meanwhile(*arguments: Any) -> Any:
        found = await find(*arguments)
        await ward.redis.xdel(BARE.key, ids[5])
        return found

    monkeypatch.setattr(places, "find", meanwhile)
    await ward.rescue()
    assert (await ward.states())[:4] == "pppp"


async def test_what_is_handled_while_a_batch_is_looked_at_does_not_come_again(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await _handled(ward, 2, of=6)
    await ward.redis.xdel(BARE.key, ids[5])
    walk = Entries.walk

    async def meanwhile(*arguments: Any) -> Any:
        if given := await ward.read(1):
            await ward.ack(*given)
            await ward.redis.xdel(BARE.key, *given)
        async for page in walk(*arguments):
            yield page

    with monkeypatch.context() as patch:
        patch.setattr(Entries, "walk", meanwhile)
        assert await ward.rescue() == Found()
    assert await ward.rescue() == Found(rescued=1)
    assert await ward.states() == "pppppw"


async def test_where_entries_of_others_stand_between_nothing_is_guessed(ward: Ward) -> None:
    """As after a recovery, which records the page of the stream that it has read."""
    ids = await _handled(ward, 1, of=4)
    await ward.world.database[OUTBOX].update_many({}, {"$set": {"entries.mixed": True}})
    await ward.redis.xdel(BARE.key, ids[2])
    assert await ward.rescue() == Found()
    assert await ward.states() == "pppp"


async def test_a_position_that_others_have_written_stops_no_look(ward: Ward) -> None:
    ids = await _handled(ward, 1, of=4)
    await ward.world.database[OUTBOX].update_one(
        {"key": "f000"}, {"$set": {"position": "first"}}, bypass_document_validation=True
    )
    await ward.redis.xdel(BARE.key, ids[2])
    assert await ward.rescue() == Found(rescued=1)
    assert places.position({"position": 7}) == Timestamp(0, 0)
    assert await ward.states() == "ppwp"


async def test_many_ranges_are_read_by_few_requests_and_nothing_between_them(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, asked = await ward.publish(40), list[int]()
    entries = Entries(ward.redis, "nobody")
    together = entries._together

    async def count(stream: Any, commands: Any, **options: Any) -> Any:
        asked.append(len(commands))
        return await together(stream, commands, **options)

    monkeypatch.setattr(entries, "_together", count)
    every_other = [(id_, id_) for id_ in ids[::2]]
    found = [entry.id async for page in entries.walk_all(BARE, every_other * 2) for entry in page]
    assert sorted(found) == sorted(ids[::2])
    assert asked == [16, 4]
    monkeypatch.setattr("outbox.delivery.entries.WALK_PAGE", 3)
    monkeypatch.setattr("outbox.delivery.entries.OF_EACH", 4)
    found = [entry.id async for page in entries.walk_all(BARE, [(ids[0], ids[9])]) for entry in page]
    assert found == ids[:10]


async def test_pages_of_a_walk_are_bounded_by_bytes(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = await ward.publish(30)
    monkeypatch.setattr("outbox.delivery.entries.FIRST_PAGE", 4)
    entries = Entries(ward.redis, "nobody")
    assert [len(page) async for page in entries.walk(BARE, "-", "+")] == [4, 8, 16, 2]
    size = sum(len(name) + len(value) for name, value in (await ward.world.entries())[0].items())
    monkeypatch.setattr("outbox.delivery.entries.WALK_BYTES", 3 * size + size // 2)
    pages = [page async for page in entries.walk(BARE, "-", "+")]
    assert [len(page) for page in pages][:4] == [4, 3, 3, 3]
    assert [entry.id for page in pages for entry in page] == ids
