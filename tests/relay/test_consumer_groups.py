"""A message of a stream without a subject, while groups and their consumers are removed, made again and set."""

from __future__ import annotations

import pytest

from outbox.database import OUTBOX
from outbox.delivery.entries import MARK, OURS, Entries
from outbox.embedded import RedisServer
from tests.relay.ward import BARE, GROUP, NAME, Ward


@pytest.mark.parametrize("seen", [True, False])
async def test_what_was_held_by_a_consumer_that_was_removed_comes_again(seen: bool, ward: Ward) -> None:
    """Without a look meanwhile, too, as long as nobody else is there who can have acknowledged it."""
    await ward.publish(4)
    ids = await ward.read(3)
    await ward.ack(ids[0])
    if seen:
        await ward.look()
        assert await ward.states() == "cppp"
        await ward.read(1, "another")
        await ward.acked_by_others()
    await ward.redis.xgroup_delconsumer(NAME, GROUP, "w")
    await ward.look()
    assert await ward.states() == ("cwwp" if seen else "wwwp")
    message = await ward.world.database[OUTBOX].find_one({"key": "f001"})
    assert message
    assert ("'w' was removed" if seen else "no consumer is left") in message["last_error"]


async def test_what_was_held_under_a_name_that_was_removed_and_reads_again_comes_again(ward: Ward) -> None:
    """Found by `python -m tests.faults.explorer --seed 4025`."""
    await ward.publish(4)
    ids = await ward.read(3)
    await ward.ack(ids[0])
    await ward.look()
    await ward.read(1, "another")
    await ward.acked_by_others()
    await ward.redis.xgroup_delconsumer(NAME, GROUP, "w")
    await ward.redis.xgroup_createconsumer(NAME, GROUP, "w")
    await ward.look()
    assert await ward.states() == "cwwp"
    message = await ward.world.database[OUTBOX].find_one({"key": "f001"})
    assert message
    assert "perhaps 'w'" in message["last_error"]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("back", [True, False])
async def test_what_was_held_at_a_look_that_was_not_carried_out_comes_again(back: bool, times: int, ward: Ward) -> None:
    """Found by `python -m tests.faults.explorer --seed 721999`: MongoDB was away when the relay had looked."""
    await ward.publish(6)
    ids = await ward.read(2, "another")
    await ward.look()
    await ward.ack(ids[0])
    held = await ward.read(3)
    await ward.look_in_vain()
    await ward.ack(held[0])
    await ward.redis.xgroup_delconsumer(NAME, GROUP, "w")
    if back:
        await ward.redis.xgroup_createconsumer(NAME, GROUP, "w")
    for _ in range(times):
        await ward.look_in_vain()
    await ward.look()
    # What it acknowledged itself before it was removed comes too: nothing tells it from the rest.
    assert await ward.states() == "cpwwwp"


async def test_what_was_acknowledged_after_a_look_that_was_not_carried_out_is_done(ward: Ward) -> None:
    await ward.publish(4)
    ids = await ward.read(1, "another")
    await ward.look()
    await ward.ack(*ids)
    held = await ward.read(3)
    await ward.look_in_vain()
    await ward.ack(*held[:2])
    await ward.look_in_vain()
    await ward.ack(held[2])
    await ward.look()
    assert await ward.states() == "cccc"


async def test_what_was_held_under_a_name_that_was_removed_after_a_restart_of_redis_comes_again(
    ward: Ward, redis_server: RedisServer
) -> None:
    """Found by `python -m tests.faults.explorer --seed 344808`: a server counts removals from 0 when it starts."""
    await ward.publish(3)
    await ward.read(2)
    await ward.look()
    redis_server.stop()
    redis_server.start()
    await ward.redis.connection_pool.disconnect()
    await ward.redis.xgroup_delconsumer(NAME, GROUP, "w")
    await ward.read(1, "w")
    await ward.acked_by_others()
    await ward.look()
    assert await ward.states() == "wwp"


async def test_what_was_acknowledged_around_a_restart_of_redis_is_done(ward: Ward, redis_server: RedisServer) -> None:
    """As long as no consumer was removed since."""
    await ward.publish(2)
    ids = await ward.read(2)
    await ward.look()
    await ward.ack(ids[0])
    redis_server.stop()
    redis_server.start()
    await ward.redis.connection_pool.disconnect()
    await ward.ack(ids[1])
    await ward.look()
    assert await ward.states() == "cc"


async def test_what_a_consumer_acknowledged_while_another_one_was_removed_is_done(ward: Ward) -> None:
    """As far as it shows that it is still the one that it was."""
    await ward.publish(3)
    ids = await ward.read(3)
    await ward.look()
    await ward.ack(ids[0], ids[1])
    await ward.redis.xgroup_createconsumer(NAME, GROUP, "another")
    await ward.redis.xgroup_delconsumer(NAME, GROUP, "another")
    await ward.look()
    assert await ward.states() == "ccp"
    await ward.ack(ids[2])
    await ward.look()
    assert await ward.states() == "ccc"


async def test_what_a_consumer_claimed_from_one_that_was_removed_is_done_when_it_is_acknowledged(ward: Ward) -> None:
    await ward.publish(2)
    ids = await ward.read(2)
    await ward.look()
    await ward.redis.xclaim(NAME, GROUP, "heir", 0, [*ids])
    await ward.redis.xgroup_delconsumer(NAME, GROUP, "w")
    await ward.look()
    await ward.ack(*ids)
    await ward.look()
    assert await ward.states() == "cc"


async def test_our_own_consumers_leave_nothing_in_doubt(ward: Ward) -> None:
    """They complete a message before they acknowledge."""
    await ward.publish(2)
    ids = await ward.read(2, f"{OURS}1")
    await ward.world.database[OUTBOX].update_many({}, {"$set": {"state": "completed"}})
    await ward.ack(*ids)
    assert await Entries(ward.redis, f"{OURS}1").leave(BARE)
    await ward.look()
    assert await ward.states() == "cc"


async def test_a_group_that_was_set_back_is_given_again_what_comes_then(ward: Ward) -> None:
    """While it still holds something later: nothing goes that it has not read."""
    ids = await ward.publish(80)
    await ward.ack(*(await ward.read(80))[:70])
    await ward.redis.xgroup_setid(NAME, GROUP, ids[19])
    await ward.look()
    assert [id_ for id_, _ in await ward.world.stream()][:1] == [ids[20]]
    await ward.ack(*await ward.read(80))
    await ward.look()
    assert await ward.states() == "c" * 80


@pytest.mark.parametrize("quiet", [True, False])
async def test_what_a_group_was_set_past_comes_again(quiet: bool, ward: Ward) -> None:
    ids = await ward.publish(8)
    held = await ward.read(2)
    await ward.look()
    await ward.redis.xgroup_setid(NAME, GROUP, ids[5])
    await ward.look()
    await ward.ack(*held)
    await ward.look()
    assert await ward.states() == "ccwwwwpp"
    if not quiet:
        await ward.redis.xgroup_setid(NAME, GROUP, "$")
        await ward.ack(ids[0])
        await ward.look()
        assert await ward.states() == "ccwwwwww"


@pytest.mark.parametrize("looks", [True, False])
async def test_what_a_group_that_was_made_again_was_never_given_comes_again(looks: bool, ward: Ward) -> None:
    await ward.publish(6)
    await ward.ack((await ward.read(3))[0])
    if looks:
        await ward.look()
    await ward.redis.xgroup_destroy(NAME, GROUP)
    await ward.redis.xgroup_create(NAME, GROUP, id="$")
    await ward.publish(1, first=6)
    await ward.ack(*await ward.read(9))
    await ward.look()
    assert await ward.states() == ("c" if looks else "w") + "wwwwww"
    await ward.drain()
    await ward.ack(*await ward.read(9))
    await ward.look()
    assert await ward.states() == "ccccccc"


async def test_a_group_that_a_relay_makes_again_starts_anew_and_without_doubt(ward: Ward) -> None:
    await ward.publish(4)
    await ward.read(2)
    await ward.look()
    await ward.redis.xgroup_destroy(NAME, GROUP)
    await ward.drain()
    await ward.ack(*await ward.read(9))
    await ward.look()
    assert await ward.states() == "cccc"


async def test_while_another_group_is_behind_nothing_is_done(ward: Ward) -> None:
    """Or a loss would take from that group what it has not read."""
    ids = await ward.publish(4)
    await ward.redis.xgroup_create(NAME, "audit", id="0")
    await ward.ack(*await ward.read(2))
    await ward.look()
    assert await ward.states() == "pppp"
    await ward.redis.xreadgroup("audit", "a", {NAME: ">"}, count=3)
    await ward.redis.xack(NAME, "audit", ids[0], ids[2])
    await ward.look()
    assert await ward.states() == "cppp"
    await ward.redis.xack(NAME, "audit", ids[1])
    await ward.look()
    assert await ward.states() == "ccpp"


async def test_the_mark_of_a_group_is_nobody(ward: Ward) -> None:
    await ward.publish(1)
    assert [c["name"] for c in await ward.redis.xinfo_consumers(NAME, GROUP)] == [MARK]
    assert await Entries(ward.redis, "x").holders(BARE) == []
