"""Fences: what makes a write to messages do nothing once its owner's time is over, whatever any clock says.

A message does not know who holds the lease of its partition. So before an owner writes to messages it names them in the
lease (the *intent*), and whoever opens the partition next takes a higher token and marks the messages named there with
it: the fence. A write counts only for messages without a higher fence than its own token. So one that comes late, as
its owner slept, was superseded, or gave it up and looked again, changes nothing, and nobody has to wait for it.

Each intent replaces the one before, which is done under the same token only when that write has been answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import pymongo
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import PyMongoError

from outbox.database import Document
from outbox.errors import LookAgain
from outbox.message.document import MAX_FENCE
from outbox.message.poison import FULL

WRITE_SECONDS = 10.0
"""How long a write to messages may take. It may still happen after that, and is fenced before anything else is done."""

PROBE_SECONDS = 1.0

MAX_TAKEN = MAX_FENCE // 100
"""From here on, a token in a message or in Redis is none of a relay's: one that takes a thousand a second gets there in
300 years. A lease that went above it would soon have no sound token any more, and its partition no owner. A lease
counts only below records.MAX_TOKEN: far above this, so that none gets there by itself, and far below MAX_FENCE, so that
no message dies of a token that others wrote into its lease."""

_ID_BYTES = 12


class TokenTooLow(LookAgain):
    """Messages, or Redis, have seen a token above the lease's: its owner goes on under one higher than `above`.

    After MongoDB's leases were made anew or restored, or when another owner has the lease by now.
    """

    def __init__(self, text: str, above: int) -> None:
        super().__init__(text)
        self.above = above


def pack(ids: Iterable[object]) -> bytes:
    """An intent as the lease holds it: 12 bytes a message. Ids of other types are left out: nothing publishes those."""
    return b"".join(id_.binary for id_ in ids if isinstance(id_, ObjectId))


def unpack(intent: object) -> list[ObjectId]:
    """The messages of an intent. Empty when nothing was written yet, or by an earlier version."""
    data = intent if isinstance(intent, bytes) else b""
    return [ObjectId(data[i : i + _ID_BYTES]) for i in range(0, len(data) - _ID_BYTES + 1, _ID_BYTES)]


@asynccontextmanager
async def in_time(messages: AsyncCollection[Document]) -> AsyncIterator[None]:
    """Around statements on messages of one partition: they may take WRITE_SECONDS, and no longer.

    :raises LookAgain: their time is over, though MongoDB does other writes. When it does not, its error is raised.
    """
    try:
        with pymongo.timeout(WRITE_SECONDS):
            yield
    except PyMongoError as error:
        if not error.timeout or not await writes(messages):
            raise
        raise _not_done(WRITE_SECONDS) from error


@contextmanager
def shared(seconds: float) -> Iterator[None]:
    """Around a write for several partitions, of which one could hold up all.

    :raises LookAgain: its time is over. What that says of MongoDB is found out by whoever opens the partitions again.
    """
    try:
        with pymongo.timeout(seconds):
            yield
    except PyMongoError as error:
        if not error.timeout:
            raise
        raise _not_done(seconds) from error


def _not_done(seconds: float) -> LookAgain:
    # Nor does anybody know whether it will be, so that nothing else may be done under its token.
    return LookAgain(
        f"a write to messages was not done after {seconds:g} s: a transaction that is open, of whatever program, may "
        "have locked one of them"
    )


async def writes(messages: AsyncCollection[Document]) -> bool:
    """Whether MongoDB answers, and a majority has what it writes. Changes nothing: no message has such an id."""
    try:
        with pymongo.timeout(PROBE_SECONDS):
            await messages.update_one({"_id": {"$in": []}}, {"$set": {"fence": 0}}, hint="_id_")
    except PyMongoError:
        return False
    return True


async def raise_fences(
    messages: AsyncCollection[Document],
    ids: Sequence[ObjectId],
    token: int,
    where: Document,
    session: AsyncClientSession,
) -> None:
    """From here on no write under a lower token changes these messages. May be repeated.

    :param where: of their partition only: another one's tokens have nothing to do with these.
    """
    if not ids:
        return
    async with in_time(messages):
        await messages.update_many(
            # One without room would keep the partition from opening. The next write about it makes it dead.
            {"_id": {"$in": list(ids)}, **where, "fence": {"$not": {"$gte": token}}, "$expr": {"$not": [FULL]}},
            {"$set": {"fence": token}},
            session=session,
            hint="_id_",
            # What was written around the library may not fit the validator, and must be fenced all the same.
            bypass_document_validation=True,
        )


async def look_why(
    messages: AsyncCollection[Document], token: int, unchanged: Document, session: AsyncClientSession
) -> None:
    """After a write that changed fewer messages than it was sent for: return if none is left as it was.

    A worker or an operator has been faster, then, which happens every day.

    Where others have written as a fence what is none, it is lowered to `token`, or nobody could ever write to it.

    :param unchanged: finds messages that the write should have changed and did not.
    :raises LookAgain: some are left. Nobody may go on as if they were changed.
    """
    async with in_time(messages):
        left = await messages.find(unchanged, {"fence": 1}, session=session).hint("_id_").to_list()
    if not left:
        return
    fences = {message["_id"]: message["fence"] for message in left if "fence" in message}
    above = max((fence for fence in fences.values() if _is_one(fence)), default=0)
    if odd := [id_ for id_, fence in fences.items() if not _is_one(fence)]:
        async with in_time(messages):
            await messages.update_many(
                {"_id": {"$in": odd}, "$expr": _NONE},  # not one that another owner has set meanwhile
                {"$set": {"fence": token}}, session=session, hint="_id_", bypass_document_validation=True,
            )  # fmt: skip
    text = f"{len(left)} messages are as they were, although they were written to, such as {left[0]['_id']}"
    if above > token:
        raise TokenTooLow(f"{text}: token {above} has fenced them, and this is {token}", above)
    raise LookAgain(text)


def _is_one(fence: object) -> bool:
    return isinstance(fence, int) and fence < MAX_TAKEN


_NONE: Document = {"$not": {"$and": [{"$in": [{"$type": "$fence"}, ["int", "long"]]}, {"$lt": ["$fence", MAX_TAKEN]}]}}
