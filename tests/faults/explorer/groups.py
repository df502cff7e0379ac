"""Groups of others at streams of ours: one forgets what it has taken, one looks after what it has added."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from redis.exceptions import ResponseError

from tests.waiting import eventually

FORGETFUL = b"caf\xe9"
"""It is no text."""
ADDERS = b"adders"
_READER = b"a reader"
_ALL = 1_000_000
HELD_SECONDS = 60
"""A relay takes from a worker that has been silent for seconds what it holds."""
_LET_GO = "nobody holds entries any more that can be no message"


class Adders:
    """They add entries that can be no message, and read the streams as well. The first entry that they were given of a
    stream they hold until everything comes to rest: so nothing behind it may be trimmed, and what they have added is
    there for them to find, unless somebody deletes it."""

    def __init__(self) -> None:
        self._added: defaultdict[str, list[str]] = defaultdict(list)

    async def add(self, redis: Any, key: str, dice: random.Random, *, lasting: bool) -> None:
        """:param lasting: it will be there until somebody takes it away, for all that is known of this Redis."""
        together = redis.pipeline(transaction=True)
        together.xgroup_create(key, ADDERS, "0", mkstream=True)
        for _ in range(3):
            pairs = [dice.randbytes(dice.choice([0, 8])) + b"\xff" for _ in range(2 * dice.choice([1, 3]))]
            together.execute_command("XADD", key, "*", *pairs)
        together.xreadgroup(ADDERS, _READER, {key: ">"}, count=_ALL)
        created, *added, answer = await together.execute(raise_on_error=False)
        for failure in (one for one in (*added, answer) if isinstance(one, Exception)):
            raise failure
        given = [id_ for id_, _ in answer[0][1]]
        if finished := given[not isinstance(created, ResponseError) :]:
            await redis.xack(key, ADDERS, *finished)
        if lasting:
            self._added[key] += added

    def forget(self, key: str | None = None) -> None:
        """Of one stream or of all: it may be gone, and nobody is to blame."""
        for each in [key] if key else [*self._added]:
            self._added.pop(each, None)

    async def leave(self, redis: Any, key: str, group: str) -> None:
        """Their group goes, as the relays wait for it; but first nobody of the workers' `group` has what they added.

        AssertionError when it is not there then.
        """
        if added := self._added.pop(key, []):
            await eventually(partial(_nobody_holds, redis, key, group, added), HELD_SECONDS, what=_LET_GO)
            if gone := [id_ for id_ in added if not await redis.xrange(key, id_, id_)]:
                raise AssertionError(f"surface: {gone} of {key} can be no messages, and somebody has deleted them")
        await end(redis, key, ADDERS)


async def _nobody_holds(redis: Any, key: str, group: str, ids: Sequence[str]) -> bool:
    try:
        held = await redis.xpending_range(key, group, min=ids[0], max=ids[-1], count=_ALL)
    except ResponseError:
        return True  # there is no such group
    return not {one["message_id"] for one in held}.intersection(ids)


async def end(redis: Any, key: str, group: bytes) -> None:
    """What a group holds, relays wait for, and they name it."""
    with suppress(ResponseError):
        await redis.xgroup_destroy(key, group)
