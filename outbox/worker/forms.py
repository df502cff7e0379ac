"""What a handler may not do or return, whether it is called in the event loop or in a thread."""

from __future__ import annotations

import inspect

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession
from pymongo.errors import InvalidOperation, PyMongoError

from outbox.worker.failures import Failed


class Asynchronous(Exception):
    """A plain-looking handler returned an awaitable, in a thread, where nobody can await it."""


def refuse_generator(returned: object) -> None:
    """Raise Failed when a handler has returned a generator."""
    if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        raise Failed(TypeError("the handler returned a generator, nothing of which has run: return, do not yield"))


def still_open(session: AsyncClientSession | ClientSession) -> None:
    """Raise Failed when a handler has ended its session's transaction."""
    if not session.in_transaction:
        raise Failed(
            InvalidOperation(
                "the handler ended the transaction of its session, which the message's completion is part of: "
                "write through the session, and leave commit and abort to the worker"
            )
        )


def in_transaction(error: BaseException) -> bool:
    """Whether the driver says of it that the whole transaction is to be repeated."""
    return isinstance(error, PyMongoError) and error.has_error_label("TransientTransactionError")
