"""A look at a stream without a subject is compared with what the server had counted: what others do to that."""

from __future__ import annotations

import hashlib

import pytest

from outbox.delivery import evidence
from outbox.delivery.entries import MARK
from outbox.protocol.script import Script
from tests.relay.ward import GROUP, NAME, Ward


def changed(monkeypatch: pytest.MonkeyPatch, line: str, other: str) -> None:
    """The script that looks, on a server that tells something else."""
    look = Script("look")
    assert line in look._text
    look._text = look._text.replace(line, other)
    look._digest = hashlib.sha1(look._text.encode(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(evidence, "_LOOK", look)


async def test_statistics_that_are_reset_again_and_again_leave_nothing_in_doubt(ward: Ward) -> None:
    """A monitoring program does so after each reading (`CONFIG RESETSTAT`)."""
    await ward.publish(20)
    for _ in range(20):
        await ward.ack(*await ward.read(1))
        await ward.redis.config_resetstat()
        await ward.look()
    assert await ward.states() == "c" * 20


async def test_two_resets_that_take_the_same_time_leave_nothing_in_doubt(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then only what has been counted since tells that there was one."""
    changed(monkeypatch, "count('config|resetstat')", "'calls=1,usec=2'")
    await ward.publish(3)
    for _ in range(3):
        await ward.ack(*await ward.read(1))
        await ward.redis.config_resetstat()
        await ward.look()
    assert await ward.states() == "ccc"


async def test_after_a_reset_what_is_read_without_acknowledgements_is_not_done(ward: Ward) -> None:
    await ward.publish(3)
    await ward.ack(*await ward.read(1))
    await ward.redis.config_resetstat()
    await ward.look()
    await ward.read(2, noack=True)
    await ward.look()
    assert await ward.states() == "cww"


async def test_a_server_that_does_not_count_leaves_nothing_in_doubt(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is compatible with Redis may not."""
    changed(monkeypatch, "'INFO', 'commandstats'", "'INFO', 'keyspace'")
    await ward.publish(2)
    for _ in range(2):
        await ward.ack(*await ward.read(1))
        await ward.look()
    assert await ward.states() == "cc"


async def test_who_removes_all_consumers_that_hold_nothing_leaves_nothing_in_doubt(ward: Ward) -> None:
    """The mark of the group is among them."""
    await ward.publish(4)
    for _ in range(2):
        held = await ward.read(1)
        await ward.look()
        await ward.ack(*held)
        await ward.ack(*await ward.read(1))
        await ward.redis.xgroup_delconsumer(NAME, GROUP, MARK)
        await ward.look()
    assert await ward.states() == "cccc"


async def test_a_group_that_was_made_again_after_consumers_were_removed_is_another_one(ward: Ward) -> None:
    await ward.publish(4)
    await ward.ack(*await ward.read(1))
    await ward.look()
    await ward.redis.xgroup_delconsumer(NAME, GROUP, MARK)
    await ward.redis.xgroup_destroy(NAME, GROUP)
    await ward.redis.xgroup_create(NAME, GROUP, id="$")
    await ward.read(1)
    await ward.acked_by_others()
    await ward.look()
    assert await ward.states() == "cwww"


@pytest.mark.parametrize(
    ("deed", "states"),
    [
        ("a consumer is removed", "wwcccccccccccccc"),
        ("another group is set", "ccccccwwcccccccc"),
        ("the group is made again", "wwwwccwwcccccccc"),
    ],
)
async def test_while_more_is_held_than_is_remembered_a_doubt_comes_to_an_end(
    deed: str, states: str, ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or everything that is acknowledged from then on would come again, until it is dead."""
    monkeypatch.setattr(evidence, "HELD", 2)
    await ward.publish(16)
    held = {consumer: await ward.read(2, consumer) for consumer in "ab"}
    await ward.look()
    if deed == "a consumer is removed":
        await ward.redis.xgroup_createconsumer(NAME, GROUP, "x")
        await ward.redis.xgroup_delconsumer(NAME, GROUP, "x")
    elif deed == "another group is set":
        await ward.redis.xgroup_create("another", "group", mkstream=True)
        await ward.redis.xgroup_setid("another", "group", "$")
    else:
        await ward.redis.xgroup_destroy(NAME, GROUP)
        await ward.redis.xgroup_create(NAME, GROUP, id="0")
        held = {consumer: await ward.read(2, consumer) for consumer in "ab"}
    for _ in range(4):
        for consumer in "ab":
            given = await ward.read(2, consumer)
            if held[consumer]:
                await ward.ack(*held[consumer])
            held[consumer] = given
        await ward.look()
    assert await ward.states() == states
