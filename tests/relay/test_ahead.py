"""Several batches of one snapshot: in order, within bounds, and forgotten when anything goes wrong."""

from __future__ import annotations

from bson import ObjectId

from outbox.database import OUTBOX
from outbox.message.document import Message
from outbox_relay.ahead import BATCHES, Ahead
from outbox_relay.drained import Outcome
from tests.relay.world import World


def _messages(count: int, size: int) -> list[Message]:
    return [Message(ObjectId(), str(number), {"n": str(number)}, {}, 0, None, size) for number in range(count)]


def test_batches_keep_order_and_bounds() -> None:
    ahead = Ahead(batch_size=3, batch_bytes=1000)
    messages = _messages(7, 100)
    ahead.add(messages)
    batches = [ahead.take() for _ in range(4)]
    assert [len(batch) for batch in batches] == [3, 3, 1, 0]
    assert [message for batch in batches for message in batch] == messages


def test_large_messages_make_small_batches_and_small_fetches() -> None:
    ahead = Ahead(batch_size=500, batch_bytes=1000)
    ahead.add(_messages(4, 600))
    assert len(ahead.take()) == 2
    assert ahead.take()
    assert ahead.wanted == BATCHES * 1000 // 600
    ahead = Ahead(batch_size=500, batch_bytes=1000)
    ahead.add(_messages(1, 1_000_000))
    assert ahead.wanted == 1
    ahead = Ahead(batch_size=500, batch_bytes=1 << 20)
    assert ahead.wanted == BATCHES * 16  # their size is not known yet
    ahead.add(_messages(1, 200))
    assert ahead.wanted == BATCHES * 500


async def test_what_is_committed_meanwhile_comes_after_what_was_fetched(world: World) -> None:
    await world.append("f1", "f2", "f3")
    owner = await world.owner(relay_batch_size=1)
    assert (await owner.drain()).outcome is Outcome.MORE
    await world.append("f1", "f4")
    await owner.drain_all()
    assert [entry["file_id"] for entry in await world.entries()] == ["f1", "f2", "f3", "f1", "f4"]


async def test_a_successor_goes_on_and_the_rest_of_the_snapshot_is_refused(world: World) -> None:
    ids = await world.append("f1", "f2", "f3", "f4")
    late = await world.owner("a", relay_batch_size=1)
    await late.drain()
    successor = await world.owner("b")
    assert await successor.drain_all() == 3
    await world.append("f5")
    while (await late.drain()).outcome is not Outcome.LEASE_LOST:
        pass
    assert await successor.drain_all() == 1
    assert (await world.published_ids())[:4] == [str(message_id) for message_id in ids]
    assert len(await world.published_ids()) == 5


async def test_a_loss_between_two_batches_puts_the_lost_ones_first(world: World) -> None:
    await world.append("f1", "f2", "f3", "f4")
    owner = await world.owner(relay_batch_size=1)
    await owner.drain()
    await owner.drain()
    await world.redis.flushall()
    assert (await owner.drain()).outcome is Outcome.REFUSED
    await owner.drain_all()
    assert [entry["file_id"] for entry in await world.entries()] == ["f1", "f2", "f3", "f4"]
    assert await world.database[OUTBOX].count_documents({"state": "published"}) == 4
