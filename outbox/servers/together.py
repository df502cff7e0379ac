"""Together: what many tasks ask of a server at about the same time goes there in one request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

MOST = 1000


class Together(Generic[Q, A]):
    """Carries out requests of one kind, all those at once that were made while the ones before were under way.

    :param carry_out: returns an answer for each request, in their order. What it raises, each that asked gets.
    :param most: how many requests it is given at once, at most.
    :param linger_seconds: how long the first one waits for others, where no answer is in a hurry.
    """

    def __init__(
        self,
        carry_out: Callable[[Sequence[Q]], Awaitable[Sequence[A]]],
        *,
        most: int = MOST,
        linger_seconds: float = 0.0,
    ) -> None:
        self._carry_out = carry_out
        self._most = most
        self._linger_seconds = linger_seconds
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._running: asyncio.Task[None] | None = None

    async def ask(self, request: Q) -> A:
        """The answer to one request. Raises what its carrying out raises; a cancellation leaves the others alone."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if self._running is None:
            # A task begins in the loop's next turn: what else is asked in this one goes with the first.
            # In a context of its own: a time limit around this request is none of the others'.
            self._running = asyncio.create_task(self._run(), context=Context())
        return await answer

    async def cancel(self) -> None:
        """Cancel what is under way, and wait for its end. Who still waits for an answer is cancelled too."""
        if self._running:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _run(self) -> None:
        try:
            while self._waiting:
                if self._linger_seconds:
                    await asyncio.sleep(self._linger_seconds)
                now, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._answer(now)
        except asyncio.CancelledError:
            for _, answer in self._waiting:
                answer.cancel()
            self._waiting.clear()
            raise
        finally:
            self._running = None

    async def _answer(self, asked: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._carry_out([request for request, _ in asked])
        except asyncio.CancelledError:
            for _, answer in asked:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001  # it is for those who asked
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for (_, answer), given in zip(asked, answers, strict=True):
                if not answer.done():
                    answer.set_result(given)
