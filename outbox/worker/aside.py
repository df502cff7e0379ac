"""Aside: streams that Redis refuses, while it serves the others that a consumer reads together with them.

A key of another type, a group that is gone or a missing permission is the trouble of one stream. An operator sees to
it, and the messages of the other streams do not wait for that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog
from redis.exceptions import ResponseError

from outbox.delivery.entries import Entries, not_there
from outbox.servers import causes
from outbox.servers.outages import Trouble, classify
from outbox.streams.declaration import Stream

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 1.0
"""How often a stream that is set aside is looked at."""


class Aside:
    """Of one consumer, the streams that it does not read for now."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._again_at: dict[Stream, float] = {}
        self._causes: dict[Stream, str] = {}

    def __call__(self, stream: Stream) -> bool:
        """Whether `stream` is left out."""
        return stream in self._again_at

    def warnings(self) -> list[str]:
        """A line for each stream that is left out, for an operator. May be asked by another thread."""
        return sorted(f"stream {stream.name!r} is not read: {cause}" for stream, cause in [*self._causes.items()])

    async def sort_out(self, streams: Sequence[Stream]) -> bool:
        """After an error: set those of `streams` aside that are refused. False: none is, or all are.

        Raises what Redis raises if it is away.
        """
        found = [(stream, await self._refusal(stream)) for stream in streams]
        refused = [(stream, error) for stream, error in found if error]
        if not refused or len(refused) == len(found):
            return False
        for stream, error in refused:
            self._again_at[stream] = time.monotonic() + AGAIN_SECONDS
            if not_there(error):
                self._causes[stream] = "it, or its group, is not there yet: a relay makes them"
                log.info("waiting for the stream and its group", stream=stream.name)
            else:
                self._causes[stream] = cause = str(causes.explain(error))
                log.error("stream unavailable", stream=stream.name, cause=cause)
        return True

    async def look_again(self) -> None:
        """Take back those that are refused no longer. Raises what Redis raises if it is away."""
        for stream, again_at in [*self._again_at.items()]:
            if time.monotonic() < again_at:
                continue
            if await self._refusal(stream):
                self._again_at[stream] = time.monotonic() + AGAIN_SECONDS
            else:
                del self._again_at[stream], self._causes[stream]
                log.info("stream available again", stream=stream.name)

    async def _refusal(self, stream: Stream) -> ResponseError | None:
        try:
            await self._entries.holders(stream)
        except ResponseError as error:
            if classify(error) is Trouble.OUTAGE:
                raise
            return error
        return None
