"""One transaction whose outcome is known when it returns, also when the reply to its commit was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pymongo
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError, WriteConcernError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from outbox.database import Document
from outbox.errors import CommitUnknown

T = TypeVar("T")
Body = Callable[[AsyncClientSession], Awaitable[T]]


async def run(
    client: AsyncMongoClient[Document],
    body: Body[T],
    *,
    happened: Callable[[], Awaitable[bool]],
    seconds: float = 20.0,
) -> T:
    """Run `body` in one majority-committed transaction and return what it returned.

    The driver runs `body` again after a conflict, and sends the commit again when its reply is lost. When it gives up
    on the reply, `happened` is asked. It must first make a majority write to a document that the transaction wrote
    too: such a write waits for a transaction still under way, so that after it the transaction has either happened or
    never will. Only then may it look, and answer.

    :raises CommitUnknown: the outcome could not be found out in `seconds`; nothing is known to be lost or written.
    :raises PyMongoError: the transaction did not happen.
    """
    returned: list[T] = []

    async def remembering(session: AsyncClientSession) -> None:
        returned[:] = [await body(session)]

    async with client.start_session() as session:
        try:
            with pymongo.timeout(seconds):
                await session.with_transaction(
                    remembering,
                    read_concern=ReadConcern("snapshot"),
                    write_concern=WriteConcern("majority"),
                    read_preference=ReadPreference.PRIMARY,
                )
        except PyMongoError as error:
            # Without one whole run of `body`, no commit can have been sent.
            if not returned or not outcome_unknown(error):
                raise
            if not await _ask(session, happened, seconds, error):
                raise
    return returned[0]


def outcome_unknown(error: PyMongoError) -> bool:
    """Whether the commit may have happened although the driver reports an error.

    A write concern error says that the wait for a majority was interrupted, as by a shutdown, an operator, or a clock
    that stepped past the time a transaction may take. The driver has a label for some of the causes only.
    """
    unknown = error.has_error_label("UnknownTransactionCommitResult")
    return unknown or error.timeout or isinstance(error, WriteConcernError)


async def _ask(
    session: AsyncClientSession, happened: Callable[[], Awaitable[bool]], seconds: float, cause: PyMongoError
) -> bool:
    try:
        async with asyncio.timeout(seconds):
            # If the commit never arrived, the transaction is still open, and would hold what it wrote, and `happened`
            # with it, until the server gives it up after a minute. A commit that arrives later finds it gone.
            await session.client.admin.command("killSessions", [session.session_id])
            return await happened()
    except (PyMongoError, TimeoutError) as error:
        raise CommitUnknown(
            "the reply to a commit was lost, and MongoDB does not say whether it was carried out "
            f"({type(error).__name__}): look at what it should have written before you do it again"
        ) from cause
