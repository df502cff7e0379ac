"""An async session as an append uses it: one statement after the other, and only in the transaction of the call.

MongoDB takes one statement of a transaction at a time, and PyMongo sends what comes after a transaction in the next one
of its session, or in none. So appends of `asyncio.gather` wait for each other; and one that was never awaited, or was
left over when `with_transaction` ran its function again, writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.errors import NoTransaction

T = TypeVar("T")

_turns: WeakKeyDictionary[AsyncClientSession, asyncio.Lock] = WeakKeyDictionary()


class Bound(AsyncClientSession):
    """The caller's session itself, which refuses to send anything once another transaction, or none, is under way."""

    __slots__ = ("_called_in",)

    def __init__(self, session: AsyncClientSession) -> None:
        self.__dict__ = session.__dict__
        self._called_in = _transaction_of(session)

    def _apply_to(self, *args: Any) -> None:
        if not self.in_transaction or _transaction_of(self) is not self._called_in:
            raise NoTransaction(
                "the transaction in which this append was called has ended, so nothing was appended: await each append "
                "inside of the function that with_transaction calls, and leave none to a task that outlasts it"
            )
        super()._apply_to(*args)


def _transaction_of(session: AsyncClientSession) -> object:
    """What PyMongo makes anew for each transaction. That is PyMongo's own: where a version has it elsewhere, appends go
    on, and only the next transaction of the session is not told from this one.
    """
    return getattr(getattr(session, "_transaction", None), "opts", None)


def in_turn(session: AsyncClientSession, write: Callable[[AsyncClientSession], Awaitable[T]]) -> Awaitable[T]:
    """What `write` returns of the bound session, when the appends of `session` before it are done."""
    return _wait(_turns.setdefault(session, asyncio.Lock()), Bound(session), write)


async def _wait(turn: asyncio.Lock, session: Bound, write: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
    async with turn:
        return await write(session)


async def first(values: Awaitable[list[T]]) -> T:
    return (await values)[0]
