"""What happens to leases in MongoDB, behind the relays' backs."""

from __future__ import annotations

import random

from pymongo import ReplaceOne

from outbox.database import PARTITIONS
from outbox.streams.declaration import FILES, Streams
from tests.faults.explorer.actions.action import Actions
from tests.faults.explorer.world import World

action = Actions()


@action(4)
async def make_leases_anew(world: World, dice: random.Random) -> str | None:
    """As docs/operations.md says of leases that others have spoilt: they are deleted, and `outbox init` makes new ones,
    whose tokens begin at 1 again.

    Not while a relay sleeps, or what it has sent is held up: what it has begun under a lease that nobody knows any more
    could be done much later, when Redis has lost what it is about.
    """
    to_mongo = world.to_mongo
    if world.asleep or to_mongo.held or to_mongo.rules or to_mongo.silent or to_mongo.latency:
        return None
    streams = Streams([FILES, *world.work.streams])
    partitions = list(streams.partitions())
    chosen = partitions if dice.random() < 0.5 else dice.sample(partitions, 1)
    # One by one, which the driver does again where a primary is elected meanwhile; and each in one go, as `outbox init`
    # is run while no relay starts: one that found none of them would end, and say that.
    anew = {"owner": None, "token": 0, "expires_at": None, "batch": 0, "tag": ""}
    await world.database[PARTITIONS].bulk_write(
        [ReplaceOne({"_id": str(one)}, {"stream": one.stream, "number": one.number, **anew}) for one in chosen]
    )
    return f"of {len(chosen)} of {len(partitions)} partitions"
