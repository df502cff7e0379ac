"""Append: write a message inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, overload

from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession

from outbox.errors import NoTransaction, UsageError
from outbox.message.document import new_document
from outbox.servers.database import OUTBOX, PREFIX, Place, collection_name
from outbox.streams.declaration import Priority, Streams

MAX_MESSAGE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is to be appended; see `Outbox.append`. Its id is known before, so that a record can name it."""

    fields: Mapping[str, str]
    key: str
    headers: Mapping[str, str] | None = None
    available_at: datetime | None = None
    id: ObjectId = field(default_factory=ObjectId)


class Outbox:
    """Appends messages to the outbox of one database.

    Frozen and without connections of its own: it writes through the session it is given, so one instance serves a
    whole process, threads and event loops included.
    """

    def __init__(
        self,
        streams: Streams,
        *,
        database: str = "outbox",
        prefix: str = PREFIX,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        """An outbox in `database`, whose collections begin with `prefix`: as OUTBOX_DATABASE and OUTBOX_PREFIX say.

        :raises SettingsError: the names of collections cannot begin with `prefix`.
        """
        self.streams = streams
        self._database = database
        self._messages = collection_name(OUTBOX, Place(database, prefix).prefix)
        self._max_message_bytes = max_message_bytes

    @overload
    def append(
        self,
        session: AsyncClientSession,
        stream: str,
        fields: Mapping[str, str],
        *,
        key: str,
        headers: Mapping[str, str] | None = None,
        available_at: datetime | None = None,
        priority: str = Priority.NORMAL,
    ) -> Awaitable[ObjectId]: ...

    @overload
    def append(
        self,
        session: ClientSession,
        stream: str,
        fields: Mapping[str, str],
        *,
        key: str,
        headers: Mapping[str, str] | None = None,
        available_at: datetime | None = None,
        priority: str = Priority.NORMAL,
    ) -> ObjectId: ...

    def append(
        self,
        session: AsyncClientSession | ClientSession,
        stream: str,
        fields: Mapping[str, str],
        *,
        key: str,
        headers: Mapping[str, str] | None = None,
        available_at: datetime | None = None,
        priority: str = Priority.NORMAL,
    ) -> Awaitable[ObjectId] | ObjectId:
        """Append a message to `stream`; returns its id. With an async session, await the answer.

        The message exists if and only if the caller's transaction commits; then it enters the stream exactly once.
        Call this *after* the transaction's own write to the record that `key` names: that write makes two transactions
        on one key wait for each other, and so the order of messages of one key is the order of commits.

        When the transaction is run again after a conflict, so is this call; the earlier message was never committed.

        How durable the commit is, is the caller's choice. With `w="majority"` (MongoDB's default for most replica
        sets) what was committed lasts. With `w=1` a failover may roll back the record and the message, both, after the
        caller was told that they are written; a message that is rolled back is never published.

        :param fields: what the worker reads: strings only, flat, sent as they are.
        :param key: the ordering scope, such as the file's id.
        :param headers: metadata such as `traceparent`, sent beside the fields.
        :param available_at: not before this time (aware); until then the message is `scheduled`.
        :param priority: `high`, `normal` or `low`. What is urgent overtakes, also earlier messages of its own key.
        :raises NoTransaction: the session has no open transaction.
        :raises UndeclaredStream: no relay would drain this stream; NoSuchPriority, when not in this priority.
        :raises InvalidMessage: a field, header, key or the size is not acceptable.
        """
        draft = Draft(fields, key, headers, available_at)
        inserted = self.append_many(session, stream, [draft], priority=priority)
        if isinstance(inserted, list):
            return draft.id
        return _first(inserted)

    @overload
    def append_many(
        self, session: AsyncClientSession, stream: str, drafts: Collection[Draft], *, priority: str = Priority.NORMAL
    ) -> Awaitable[list[ObjectId]]: ...

    @overload
    def append_many(
        self, session: ClientSession, stream: str, drafts: Collection[Draft], *, priority: str = Priority.NORMAL
    ) -> list[ObjectId]: ...

    def append_many(
        self,
        session: AsyncClientSession | ClientSession,
        stream: str,
        drafts: Collection[Draft],
        *,
        priority: str = Priority.NORMAL,
    ) -> Awaitable[list[ObjectId]] | list[ObjectId]:
        """The same for several messages, in one request; returns their ids. Those of one key keep their order.

        Raises what `append` does, for the first that is not acceptable; then none is written.

        :param drafts: a list, tuple or the like, which can be read again when the transaction is run again.
        :raises UsageError: it can be read only once, as a generator can: the second run would append nothing.
        """
        if not session.in_transaction:
            raise NoTransaction(
                "append needs an open transaction, so that the message and the record it speaks of are written "
                "together: call it inside session.with_transaction(...) or session.start_transaction()"
            )
        wanted, now = Priority.read(priority), datetime.now(UTC)
        documents = [
            new_document(
                self.streams.serving(stream, wanted, draft.key if isinstance(draft.key, str) else ""),
                draft.fields,
                key=draft.key,
                headers=draft.headers,
                available_at=draft.available_at,
                now=now,
                max_bytes=self._max_message_bytes,
                message_id=draft.id,
            )
            for draft in _all_of(drafts)
        ]
        if isinstance(session, AsyncClientSession):
            return self._insert(session, documents)
        if documents:
            session.client[self._database][self._messages].insert_many(documents, session=session)
        return [document["_id"] for document in documents]

    async def _insert(self, session: AsyncClientSession, documents: list[dict[str, Any]]) -> list[ObjectId]:
        client: AsyncMongoClient[dict[str, Any]] = session.client
        if documents:
            await client[self._database][self._messages].insert_many(documents, session=session)
        return [document["_id"] for document in documents]


def _all_of(drafts: Collection[Draft]) -> list[Draft]:
    """The drafts, from what can give them again: a callback of `with_transaction` is called again after a conflict.

    A generator that was made in front of the callback is empty by then, and its record would be committed alone.
    """
    again = isinstance(drafts, Collection) and not isinstance(drafts, Iterator | Mapping)
    found = list(drafts) if again else []
    if not again or len(found) != len(drafts) or not all(isinstance(draft, Draft) for draft in found):
        raise UsageError(
            f"append_many needs a list of drafts, not {type(drafts).__name__}: what can be read only once would be "
            "empty when the transaction is run again; pass [Draft(...), ...], or list(...) made in front of the "
            "transaction"
        )
    return found


async def _first(ids: Awaitable[list[ObjectId]]) -> ObjectId:
    return (await ids)[0]
