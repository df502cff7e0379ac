"""A group of another program at a stream of ours: what it has still to be given, and what it holds, nobody may trim."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from redis.exceptions import ResponseError

from outbox.streams.entry_ids import EntryId

GROUP = "listeners"
CONSUMER = "listener"

Run = Callable[..., Awaitable[Any]]
"""A command, straight to the server."""

_COMMON = """
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local function delivered()
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local group = {}
    for n = 1, #flat, 2 do group[flat[n]] = flat[n + 1] end
    if group['name'] == ARGV[1] then return group['last-delivered-id'] end
  end
end
local function ids_after(id)
  local ids = {}
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. id, '+')) do ids[#ids + 1] = entry[1] end
  return ids
end
if redis.call('EXISTS', KEYS[1]) == 0 then return {server, 0} end
local there = delivered() and 1 or 0
"""
_READ = (
    _COMMON
    + """
if there == 0 then redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0') end
local read, gone = {}, {}
local answer = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[3], 'STREAMS', KEYS[1], '>')
for _, entry in ipairs(answer and answer[1][2] or {}) do read[#read + 1] = entry[1] end
for n = 4, #ARGV do
  if #redis.call('XRANGE', KEYS[1], ARGV[n], ARGV[n]) == 0 then gone[#gone + 1] = ARGV[n] end
end
return {server, there, ids_after(delivered()), read, gone}
"""
)
_SET_BACK = (
    _COMMON
    + """
if there == 0 then return {server, 0} end
local ids = ids_after('0-0')
local place = ids[math.floor(ARGV[2] * #ids)] or '0-0'
redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], place)
return {server, 1, ids_after(place)}
"""
)


class Listener:
    """It reads now and then, acknowledges some of what it holds, and is set back to be given the same again.

    What Redis loses, it knows nothing of any more: as by a restart, or with the group.
    """

    def __init__(self, stream: str) -> None:
        """`stream`: its key in Redis."""
        self._stream = stream
        self._server = ""
        self._due: list[str] = []
        """Entries that stood in the stream behind what it was given last, when that was last looked at."""
        self._held: list[str] = []

    async def read(self, do: Run, count: int) -> int | None:
        """What comes next; returns how much. AssertionError when an entry is gone that it was to be given, or holds."""
        server, there, *rest = await do("EVAL", _READ, 1, self._stream, GROUP, CONSUMER, count, *self._held)
        if not rest:
            self._forget(server)
            return None
        due, read, gone = rest
        if not there or server != self._server:
            self._forget(server)
        elif gone:
            raise AssertionError(f"G7: entries are gone that the group {GROUP!r} of others holds: {gone[:5]}")
        elif missed := self._missed(read, whole=len(read) < count):
            raise AssertionError(
                f"G7: entries are gone that the group {GROUP!r} of others was to be given: {missed[:5]}"
            )
        self._due, self._held = due, [*dict.fromkeys(self._held + read)]
        return len(read)

    def _missed(self, read: list[str], *, whole: bool) -> list[str]:
        """What was due up to the last of what was read, or at all, and did not come."""
        up_to = None if whole else EntryId.parse(read[-1])
        given = set(read)
        return [id_ for id_ in self._due if id_ not in given and (up_to is None or EntryId.parse(id_) <= up_to)]

    async def acknowledge(self, do: Run, dice: random.Random) -> int:
        """Some of what it holds, in the order in which it was given them or in any; returns how much."""
        count = dice.randint(0, len(self._held))
        done = self._held[:count] if dice.random() < 0.5 else dice.sample(self._held, count)
        if done:
            await do("XACK", self._stream, GROUP, *done)
            self._held = [id_ for id_ in self._held if id_ not in done]
        return len(done)

    async def set_back(self, do: Run, part: float) -> int | None:
        """By XGROUP SETID, to such a part of what is there; returns how much it is to be given from there on."""
        server, there, *rest = await do("EVAL", _SET_BACK, 1, self._stream, GROUP, part)
        if not there or server != self._server:
            return None
        [self._due] = rest
        return len(self._due)

    def removed(self, entries: Iterable[str]) -> None:
        """By others, without regard for anybody."""
        gone = set(entries)
        self._due = [id_ for id_ in self._due if id_ not in gone]
        self._held = [id_ for id_ in self._held if id_ not in gone]

    async def ends(self, do: Run) -> None:
        """It is given all that is left, and goes: relays wait for what it holds, and they name it."""
        if self._server:
            await self.read(do, 1_000_000)
            with suppress(ResponseError):  # the stream is not there any more
                await do("XGROUP", "DESTROY", self._stream, GROUP)
            self._forget("")

    def _forget(self, server: str) -> None:
        self._server, self._due, self._held = server, [], []
