"""What a handler may not do or return, whether it is called in the event loop or in a thread."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from contextlib import AsyncContextDecorator, ContextDecorator, contextmanager
from typing import Any, NoReturn, cast

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession
from pymongo.errors import ConnectionFailure, InvalidOperation, PyMongoError

from outbox.worker.failures import Failed, GiveUp, RetryAfter


class Asynchronous(Exception):
    """A plain-looking handler returned an awaitable, in a thread, where nobody can await it."""


def refuse_unrun(returned: object) -> None:
    """Raise Failed when a handler has returned what would only run if somebody used it: its work is not done."""
    if isinstance(returned, ContextDecorator | AsyncContextDecorator):  # @contextmanager keeps its generator in it
        returned = getattr(returned, "gen", None)
    if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        raise Failed(TypeError("the handler returned a generator, nothing of which has run: return, do not yield"))
    if isinstance(returned, map | filter | itertools.starmap):
        raise Failed(TypeError(f"the handler returned {type(returned).__name__}(...), nothing of which has run: loop"))


@contextmanager
def held_open(session: AsyncClientSession | ClientSession) -> Iterator[None]:
    """Within this, a handler can neither commit its session's transaction nor begin another: both raise.

    What it had committed by itself would be there twice after a conflict, a failover or the end of its process, and
    after each try that failed. When the handler raises, or nobody waits for it any more, its session stays like this.
    """
    held = cast(Any, session)
    held.commit_transaction = held.start_transaction = _refuse
    yield
    del held.commit_transaction, held.start_transaction


def _refuse(*_: object, **__: object) -> NoReturn:
    raise InvalidOperation(
        "the message's completion is part of the session's transaction, so a handler cannot commit it or begin one: "
        f"{_LEAVE}; what needs several transactions needs several messages"
    )


def still_open(session: AsyncClientSession | ClientSession) -> None:
    """Raise Failed when a handler has ended its session's transaction."""
    if not session.in_transaction:
        raise Failed(
            InvalidOperation(
                "the handler ended the transaction of its session, which the message's completion is part of: " + _LEAVE
            )
        )


_LEAVE = "write through the session, and leave begin, commit and abort to the worker"


def is_unanswered(session: AsyncClientSession | ClientSession, error: PyMongoError) -> bool:
    """Whether nothing that a handler has sent through its session was answered, and a server could not be reached.

    Then the session does not tell which server that was: ours, or that of another client of the handler's.
    """
    return session.operation_time is None and isinstance(error, ConnectionFailure)


def in_transaction(error: BaseException) -> PyMongoError | None:
    """The error of which the driver says that the whole transaction is to be repeated: `error`, or what led to it.

    Libraries raise errors of their own for the driver's, and a TaskGroup raises groups. What a handler has decided
    itself is left as it is.
    """
    if isinstance(error, GiveUp | RetryAfter):
        return None
    found: dict[int, BaseException] = {}
    looked_at: list[BaseException | None] = [error]
    while looked_at:
        one = looked_at.pop()
        if one is None or id(one) in found:
            continue
        if isinstance(one, PyMongoError) and one.has_error_label("TransientTransactionError"):
            return one
        found[id(one)] = one
        looked_at += [one.__context__, one.__cause__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]
    return None
