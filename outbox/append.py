"""Append: write a message inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, overload

from bson import ObjectId
from pymongo import AsyncMongoClient, MongoClient, WriteConcern
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession

from outbox.bound import first, in_turn
from outbox.database import LENIENT, OUTBOX, PREFIX, Database, Place, PlainDatabase
from outbox.draft import ABSENT, Draft, all_of, check_session, checked_limit, documents_of
from outbox.message import meta, uniques
from outbox.streams import declaring, first_look, registry
from outbox.streams.declaration import Priority, Streams
from outbox.writes import Write, carry_out, checked, go_through, wait_for

MAX_MESSAGE_BYTES = 256 * 1024

T = TypeVar("T")


class Outbox:
    """Appends messages to the outbox of one database.

    Without connections of its own: it writes through the session it is given, so one instance serves a whole process,
    threads and event loops included. Before its first append it looks once whether the database has an outbox.
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

        :raises SettingsError: `streams` are none, or of several prefixes; or there can be no such database, prefix or
            limit.
        """
        self.streams = declaring.checked(streams)
        self._place = Place(database, prefix)
        self._max_message_bytes = checked_limit(max_message_bytes)
        self._times: dict[str, float] | None = None
        """The `unique_seconds` that are registered; None until the first append has looked."""

    async def register(self, client: AsyncMongoClient[dict[str, Any]]) -> list[str]:
        """Register the streams in the database, as `outbox init` does with those of OUTBOX_STREAMS.

        Returns a line for each thing done. May be called any number of times, by any number of programs. In Redis, the
        streams get the prefix that `outbox init` has registered.

        :raises SchemaError: the database has no outbox: run `outbox init` first. Its kind WrongDeclaration, when a
            stream is registered otherwise, or declared with another prefix. Nothing was changed.
        :raises SettingsError: a name is taken, by a shard, priority or group of another stream. Nothing was changed.
        """
        database = Database(client, self._place, LENIENT, write_concern=WriteConcern("majority"), **registry.NOW)
        await meta.identity(database)
        return await registry.register(database, await declaring.of_program(database, self.streams))

    @overload
    def check(self, client: AsyncMongoClient[dict[str, Any]]) -> Awaitable[None]: ...

    @overload
    def check(self, client: MongoClient[dict[str, Any]]) -> None: ...

    def check(self, client: AsyncMongoClient[dict[str, Any]] | MongoClient[dict[str, Any]]) -> Awaitable[None] | None:
        """Compare the streams with those that `outbox init` has registered; call it at the start of a program.

        With an async client, await the answer.

        :raises WrongDeclaration: a stream is declared otherwise than it is registered, or not registered at all. The
            text names the property and both values. What is appended all the same might wait for ever, or out of order.
        :raises SchemaError: the database has no outbox: run `outbox init`, or correct its name.
        """
        if isinstance(client, MongoClient):
            registry.check_sync(PlainDatabase(client, self._place), self.streams)
            return None
        return registry.check(Database(client, self._place), self.streams)

    @overload
    def append(
        self,
        session: AsyncClientSession,
        stream: str,
        fields: Mapping[str, str],
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        available_at: datetime | None = None,
        priority: str = Priority.NORMAL,
        subject: object = ABSENT,
        unique: str | None = None,
        writes: Sequence[Write] = (),
    ) -> Awaitable[ObjectId]: ...

    @overload
    def append(
        self,
        session: ClientSession,
        stream: str,
        fields: Mapping[str, str],
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        available_at: datetime | None = None,
        priority: str = Priority.NORMAL,
        subject: object = ABSENT,
        unique: str | None = None,
        writes: Sequence[Write] = (),
    ) -> ObjectId: ...

    def append(
        self,
        session: AsyncClientSession | ClientSession,
        stream: str,
        fields: Mapping[str, str],
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        available_at: datetime | None = None,
        priority: str = Priority.NORMAL,
        subject: object = ABSENT,
        unique: str | None = None,
        writes: Sequence[Write] = (),
    ) -> Awaitable[ObjectId] | ObjectId:
        """Append a message to `stream`; returns its id. With an async session, await the answer.

        A stream that is declared with further `groups` gets a message for each of them, in the same request. The id is
        that of the stream's own group's; `append_each` returns all.

        The message exists if and only if the caller's transaction commits; then it enters the stream exactly once.
        Call this *after* the transaction's own write to the record that `key` names: that write makes two transactions
        on one key wait for each other, and so the order of messages of one key is the order of commits.

        When the transaction is run again after a conflict, so is this call; the earlier message was never committed.

        How durable the commit is, is the caller's choice. With `w="majority"` (MongoDB's default for most replica
        sets) what was committed lasts. With `w=1` a failover may roll back the record and the message, both, after the
        caller was informed that they are written; a message that is rolled back is never published.

        :param fields: what the worker reads: strings only, flat, sent as they are.
        :param key: the ordering scope, such as the file's id. It may be left out where `subject` is given, and is then
            the text of that.
        :param headers: metadata such as `traceparent`, sent beside the fields.
        :param available_at: not before this time (aware); until then the message is `scheduled`.
        :param priority: `high`, `normal` or `low`. What is urgent overtakes, also earlier messages of its own key.
        :param subject: the `_id` of the document that the message is about, of any type, where the stream declares a
            subject. Without it, `_id` is read from the key, as `Subject.id_type` says.
        :param unique: one message of the stream with this value is enough: while an earlier one is not done (it is
            scheduled, pending or published), or for the stream's `unique_seconds` from its append, no other is added,
            and its id is returned. See docs/append.md for what that means in a race.
        :param writes: the transaction's own writes to the record, with their collections as `namespace`: PyMongo's
            InsertOne, UpdateOne, ReplaceOne and DeleteOne. They are made in this order, before the message is inserted,
            and on MongoDB 8.0 or later in the same request.
        :raises NoTransaction: the session has no open transaction.
        :raises UndeclaredStream: no relay would drain this stream; NoSuchPriority, when not in this priority.
        :raises SchemaError: the database has no outbox (from the await, with an async session).
        :raises InvalidMessage: a field, header, key or the size is not acceptable.
        :raises NoSuchRecord: one of `writes` found no document to change or delete; the transaction has been ended.
        :raises DuplicateKeyError, WriteError: (of PyMongo) MongoDB refuses one of `writes`.
        """
        draft = Draft(fields, key, headers, available_at, subject=subject, unique=unique)
        inserted = self.append_many(session, stream, [draft], priority=priority, writes=writes)
        return inserted[0] if isinstance(inserted, list) else first(inserted)

    @overload
    def append_many(
        self,
        session: AsyncClientSession,
        stream: str,
        drafts: Collection[Draft],
        *,
        priority: str = Priority.NORMAL,
        writes: Sequence[Write] = (),
    ) -> Awaitable[list[ObjectId]]: ...

    @overload
    def append_many(
        self,
        session: ClientSession,
        stream: str,
        drafts: Collection[Draft],
        *,
        priority: str = Priority.NORMAL,
        writes: Sequence[Write] = (),
    ) -> list[ObjectId]: ...

    def append_many(
        self,
        session: AsyncClientSession | ClientSession,
        stream: str,
        drafts: Collection[Draft],
        *,
        priority: str = Priority.NORMAL,
        writes: Sequence[Write] = (),
    ) -> Awaitable[list[ObjectId]] | list[ObjectId]:
        """The same for several messages, in one request; returns their ids. Those of one key keep their order.

        Raises what `append` does, for the first that is not acceptable; then none is written.

        :param drafts: a list, tuple or the like, which can be read again when the transaction is run again.
        :raises UsageError: it can be read only once, as a generator can: the second run would append nothing.
        """
        documents = self._documents(session, stream, drafts, priority)
        ids = [draft.id for draft in drafts]
        return self._write(session, checked(writes), documents, lambda instead: [instead.get(id_, id_) for id_ in ids])

    @overload
    def append_each(
        self,
        session: AsyncClientSession,
        stream: str,
        draft: Draft,
        *,
        priority: str = Priority.NORMAL,
        writes: Sequence[Write] = (),
    ) -> Awaitable[dict[str, ObjectId]]: ...

    @overload
    def append_each(
        self,
        session: ClientSession,
        stream: str,
        draft: Draft,
        *,
        priority: str = Priority.NORMAL,
        writes: Sequence[Write] = (),
    ) -> dict[str, ObjectId]: ...

    def append_each(
        self,
        session: AsyncClientSession | ClientSession,
        stream: str,
        draft: Draft,
        *,
        priority: str = Priority.NORMAL,
        writes: Sequence[Write] = (),
    ) -> Awaitable[dict[str, ObjectId]] | dict[str, ObjectId]:
        """`append`, for whoever needs the id of each group's message: returns them by the group's name."""
        documents = self._documents(session, stream, [draft], priority)
        ids = {self.streams[document["stream"]].group: document["_id"] for document in documents}
        return self._write(
            session, checked(writes), documents, lambda instead: {at: instead.get(id_, id_) for at, id_ in ids.items()}
        )

    def _documents(
        self, session: AsyncClientSession | ClientSession, stream: str, drafts: Collection[Draft], priority: str
    ) -> list[dict[str, Any]]:
        check_session(session)
        options = session.client.codec_options
        return documents_of(all_of(drafts), self.streams, stream, priority, options, self._max_message_bytes)

    def _write(
        self,
        session: AsyncClientSession | ClientSession,
        writes: list[Write],
        documents: list[dict[str, Any]],
        ids: Callable[[Mapping[ObjectId, ObjectId]], T],
    ) -> Awaitable[T] | T:
        """Make the writes, and insert what is needed. `ids` gets the messages that stand in the place of others."""
        if isinstance(session, AsyncClientSession):
            return in_turn(session, lambda bound: self._insert(bound, writes, documents, ids))
        instead: dict[ObjectId, ObjectId] = {}
        database = PlainDatabase(session.client, self._place)
        if self._times is None:
            self._times = first_look.look_sync(database, self.streams)
        if uniques.any_in(documents):
            instead = uniques.carry_out_sync(
                uniques.claim(documents, self.streams, self._times or {}), database, session
            )
        needed = [document for document in documents if document["_id"] not in instead]
        go_through(carry_out(session, writes, needed, database[OUTBOX]))
        return ids(instead)

    async def _insert(
        self,
        session: AsyncClientSession,
        writes: list[Write],
        documents: list[dict[str, Any]],
        ids: Callable[[Mapping[ObjectId, ObjectId]], T],
    ) -> T:
        instead: dict[ObjectId, ObjectId] = {}
        database = Database(session.client, self._place)
        if self._times is None:
            self._times = await first_look.look(database, self.streams)
        if uniques.any_in(documents):
            instead = await uniques.carry_out(
                uniques.claim(documents, self.streams, self._times or {}), database, session
            )
        needed = [document for document in documents if document["_id"] not in instead]
        await wait_for(carry_out(session, writes, needed, database[OUTBOX]))
        return ids(instead)
