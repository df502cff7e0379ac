"""Dead messages and what an operator can do with them: retry or discard. To list them, see messages.list_page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from outbox.database import LENIENT, OUTBOX, Database, Document
from outbox.errors import NoSuchMessage, NotDead
from outbox.message import attempts, subjects, transitions
from outbox.message.document import State
from outbox.message.poison import MAX_REASON, naming
from outbox.operations import audit
from outbox.protocol.settled import complete_settled
from outbox.streams.declaration import Streams

DISCARDED = "discarded by an operator"
"""The error by which a discarded message ends, as its subject gets it."""

BATCH = 100

_NEEDED = {**subjects.NAMING, "stream": 1, "retried": 1, "last_error": 1}


async def ids(
    database: Database, *, stream: str | None = None, before: datetime | None = None
) -> AsyncIterator[ObjectId]:
    """The ids of all dead messages, or those of one stream. One that is retried and dies again may come twice.

    :param before: only of what had died by then, by the server's clock; none comes twice.
    """
    # By few: MongoDB forgets a cursor from which nothing was asked for ten minutes, and each message takes its time.
    async for document in _messages(database).find(_dead(stream, before), {"_id": 1}, batch_size=BATCH).hint("dead"):
        yield document["_id"]


async def count(database: Database, *, stream: str | None = None, before: datetime | None = None) -> int:
    """How many messages are dead, in all streams or in one. `before` as in `ids`."""
    return await database[OUTBOX].count_documents(_dead(stream, before), hint="dead")


async def retry(
    database: Database,
    streams: Streams,
    message: ObjectId,
    *,
    who: str | None = None,
    before: datetime | None = None,
    seconds: float = 20.0,
) -> None:
    """Make a dead message pending again, and in the same transaction its subject wanted again if that ended in error.

    Its attempts count on, but it may be tried as often as a new one; its last error stays readable. Raises
    NoSuchMessage, NotDead, InvalidMessage (so large that it cannot be changed), UndeclaredStream (no relay would drain
    it), or CommitUnknown; after that one, ask for the message's state.

    :param who: for the audit; by default who runs this process.
    :param before: only if it had died by then, by the server's clock: one that was retried and died again stays.
    :param seconds: for the transaction, and again for its lost outcome.
    """
    retried: int | None = None

    async def body(session: AsyncClientSession, change_subject: bool) -> None:
        nonlocal retried
        with naming(message):
            found = await _messages(database).find_one_and_update(
                *transitions.retry(message, _died(before)), projection=_NEEDED, session=session
            )
        if found is None:
            raise await _refusal(database, message, session)
        retried = attempts.count(found, "retried")
        subject = streams[str(found.get("stream"))].subject
        if subject and change_subject:
            ids = subjects.ids_of(subject, found)
            await complete_settled(database, streams, subject.collection, ids, session)
            await subjects.want_again(database, subject, found, session)
        await _record(database, "retry", found, who, session)

    async def happened() -> bool:
        found = await _written(database, message)
        return found is not None and retried is not None and attempts.count(found, "retried") > retried

    await subjects.run(database, body, happened=happened, seconds=seconds)


async def discard(
    database: Database,
    streams: Streams,
    message: ObjectId,
    *,
    who: str | None = None,
    before: datetime | None = None,
    seconds: float = 20.0,
) -> None:
    """Delete a dead message. Its subject, if it still waits and no other message is about it, ends as `DISCARDED`.

    Raises NoSuchMessage, NotDead or CommitUnknown.

    :param who: for the audit; by default who runs this process.
    :param before: as in `retry`.
    :param seconds: for the transaction, and again for its lost outcome.
    """

    async def body(session: AsyncClientSession, change_subject: bool) -> None:
        found = await _messages(database).find_one_and_delete(
            transitions.discard(message, _died(before)), projection=_NEEDED, session=session
        )
        if found is None:
            raise await _refusal(database, message, session)
        stream = streams.get(str(found.get("stream")))
        if stream and change_subject:
            await subjects.fail(database, stream.subject, found, message, DISCARDED, session)
        await _record(database, "discard", found, who, session)

    async def happened() -> bool:
        return await _written(database, message) is None

    await subjects.run(database, body, happened=happened, seconds=seconds)


def _messages(database: Database) -> AsyncCollection[Document]:
    return database[OUTBOX].with_options(codec_options=LENIENT)


def _dead(stream: str | None, before: datetime | None) -> Document:
    return {"state": State.DEAD.value, **({} if stream is None else {"stream": stream}), **_died(before)}


def _died(before: datetime | None) -> Document:
    # "not later" also holds for a message without the time, which others have written.
    return {} if before is None else {"died_at": {"$not": {"$gt": before}}}


async def _record(
    database: Database, action: str, message: Document, who: str | None, session: AsyncClientSession
) -> None:
    held = {name: message.get(name) for name in ("stream", "key", "last_error")}
    # Cut, because nobody has bounded what was written around the library.
    told = {"message": message["_id"], **{name: value and str(value)[:MAX_REASON] for name, value in held.items()}}
    await audit.record(database, who=who or audit.me(), action=action, details=told, session=session)


async def _refusal(database: Database, message: ObjectId, session: AsyncClientSession) -> NoSuchMessage | NotDead:
    found = await _messages(database).find_one({"_id": message}, {"state": 1}, session=session)
    if found is None:
        return NoSuchMessage(f"there is no message {message}: it was pruned or discarded, or never committed")
    if found.get("state") == State.DEAD.value:
        return NotDead(f"message {message} was retried meanwhile, and died again: it stays as it is")
    return NotDead(f"message {message} is {found.get('state')}: only a dead message can be retried or discarded")


async def _written(database: Database, message: ObjectId) -> Document | None:
    """The message as a transaction left it, which may still be under way: a write waits for that one to end."""
    return await _messages(database).find_one_and_update(
        {"_id": message}, {"$currentDate": {"asked_at": True}}, projection=_NEEDED
    )
