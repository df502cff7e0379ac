"""Turns: the order of messages of one key that are in several partitions, after a stream's number has been changed.

Programs that started before the change go on appending to the partition that the earlier number gives a key. So for one
key there may be messages in two partitions, with an owner each. A message waits for those of its key that were
committed before it: their positions are lower, and whoever reads one that is committed can read those before it, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bson.timestamp import Timestamp
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from outbox.message.document import State
from outbox.streams.declaration import Partition

Turn = tuple[str, Timestamp]
"""Key and position of a message."""


async def may_go(
    messages: AsyncCollection[dict[str, Any]],
    partition: Partition,
    numbers: Iterable[int],
    fetched: Sequence[Turn],
    session: AsyncClientSession,
) -> int:
    """How many of `fetched`, which are pending in `partition` and in order, have nothing to wait for.

    :param numbers: of all partitions of the stream.
    :param session: the one in which they were fetched, so that what is read here is at least as new.
    """
    others = [number for number in numbers if number != partition.number]
    if not fetched or not others:
        return len(fetched)
    elsewhere = {"state": State.PENDING.value, "stream": partition.stream, "partition": {"$in": others}}
    last = fetched[-1][1]
    before = {**elsewhere, "position": {"$lt": last}}
    # First whether anything waits at all: of a key there may be a long history, which is read from here on only.
    head = messages.find(before, {"position": 1}, session=session).sort("position").limit(1).hint("pending")
    first = await head.to_list()
    if not first:
        return len(fetched)
    of_keys = {**before, "position": {"$gte": first[0]["position"], "$lt": last}}
    of_keys["key"] = {"$in": list({key for key, _ in fetched})}
    earliest: dict[str, Timestamp] = {}
    async for one in messages.find(of_keys, {"key": 1, "position": 1}, session=session).hint("key"):
        earliest[one["key"]] = min(one["position"], earliest.get(one["key"], one["position"]))
    for count, (key, position) in enumerate(fetched):
        if key in earliest and earliest[key] < position:
            return count
    return len(fetched)
