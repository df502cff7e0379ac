"""What is recorded of batches that are marked together: each message has the entries of its own batch (G1)."""

from __future__ import annotations

from outbox.database import OUTBOX
from outbox.message.outcome import Found
from tests.relay.ward import NAME, Ward


async def test_what_is_removed_in_the_midst_of_batches_that_were_marked_together_comes_again(ward: Ward) -> None:
    """Their entries follow one another in time only, and those of other partitions stand between them."""
    ids = await ward.publish(8, batch_size=1)
    found = await ward.world.database[OUTBOX].find().sort("key").to_list()
    assert [message["entries"] for message in found] == [{"first": id_, "last": id_} for id_ in ids]
    given = await ward.read(2)
    await ward.ack(*given)
    await ward.redis.xdel(NAME, given[0], *ids[2:4])
    assert await ward.rescue() == Found(rescued=2)
    assert await ward.states() == "ppwwpppp"
