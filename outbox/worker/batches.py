"""Batches: messages for a handler that takes many, those that wait together in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from outbox.servers.together import Together
from outbox.streams.declaration import Stream
from outbox.worker.completion import Superseded
from outbox.worker.failures import Failed, headline
from outbox.worker.hand import Abandoned, Hand
from outbox.worker.handler import Handler
from outbox.worker.message import Message
from outbox.worker.work import Work


class Batches:
    """One batch of each stream and handler at a time; what comes meanwhile is the next one."""

    def __init__(self, work: Work, *, most: int, paused: Callable[[Stream], bool] = lambda _: False) -> None:
        """:param paused: whether nothing of a stream may be begun: then nothing of what waited is handled."""
        self._work = work
        self._paused = paused
        self._most = most
        self._waiting: dict[tuple[Handler, str], Together[tuple[Message, Hand], bool]] = {}

    async def do(self, handler: Handler, stream: Stream, message: Message, hand: Hand) -> bool:
        """Whether the message was handled and completed together with others.

        False: it was not, and is to be handled on its own. Nothing of a batch that failed has lasted, and it cost none
        of its messages a try.

        :raises PyMongoError: MongoDB was away. It may have happened: look at the message again.
        """
        together = self._waiting.get((handler, stream.name))
        if together is None:
            together = Together(partial(self._carry_out, handler, stream), most=self._most)
            self._waiting[handler, stream.name] = together
        return await together.ask((message, hand))

    async def cancel(self) -> None:
        """Cancel the batches that nobody waits for any more, and wait for their handlers as long as for others."""
        await asyncio.gather(*(together.cancel() for together in self._waiting.values()))

    async def _carry_out(
        self, handler: Handler, stream: Stream, asked: Sequence[tuple[Message, Hand]]
    ) -> Sequence[bool]:
        # An entry of the same message, or one that is this worker's no longer, is left out.
        chosen = {message.id: (message, hand) for message, hand in reversed(asked) if not hand.abandoned.is_set()}
        if len(chosen) < 2 or self._paused(stream):
            return [False] * len(asked)
        messages = [message for message, _ in reversed(chosen.values())]
        batch = Hand(asked[0][1].limit_seconds)
        batch.about = {"stream": stream.name, "batch": len(messages)}
        for _, hand in chosen.values():
            hand.part_of = batch
        try:
            await self._work.do(handler, stream, messages, batch)
        except (Superseded, Abandoned, Failed) as error:
            cause = headline(error.error) if isinstance(error, Failed) else type(error).__name__.lower()
            batch.told.info("batch not applied, its messages are handled one by one", cause=cause[:500])
            return [False] * len(asked)
        finally:
            for _, hand in chosen.values():
                hand.part_of = None
        done = {id(hand) for _, hand in chosen.values()}
        return [id(hand) in done for _, hand in asked]
