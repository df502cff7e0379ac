"""Writes of the application that go with a message: in one request with it, where MongoDB can.

MongoDB has the command `bulkWrite`, for several collections at once, since 8.0. Before that, and where PyMongo or the
server refuses it, the same writes are made one after the other, and errors are the same.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import groupby
from typing import Any
from weakref import WeakSet

from pymongo import AsyncMongoClient, DeleteOne, InsertOne, MongoClient, ReplaceOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession
from pymongo.errors import (
    BulkWriteError,
    ClientBulkWriteException,
    DuplicateKeyError,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    WriteError,
)
from pymongo.results import BulkWriteResult, ClientBulkWriteResult

from outbox.database import Document
from outbox.errors import NoSuchRecord, UsageError

Write = InsertOne[Any] | UpdateOne | ReplaceOne[Any] | DeleteOne

BULK_WRITE = 25
"""The maxWireVersion of MongoDB 8.0."""

_REFUSALS = {59, 115}
"""CommandNotFound; CommandNotSupported, which is said as long as the feature compatibility version is an older one."""

_without: WeakSet[AsyncMongoClient[Any] | MongoClient[Any]] = WeakSet()
"""Clients whose server has refused the command, though its version should have it."""

Steps = Generator[Any, Any, None]


def checked(writes: Sequence[Write]) -> list[Write]:
    """The writes, from what can give them again when the transaction is run again. Raises UsageError."""
    if not isinstance(writes, list | tuple):
        raise UsageError(
            f"writes needs a list, such as writes=[InsertOne(order, namespace=orders.full_name)], not "
            f"{type(writes).__name__}: it is read again when the transaction is run again"
        )
    for write in writes:
        name = type(write).__name__
        if not isinstance(write, InsertOne | UpdateOne | ReplaceOne | DeleteOne):
            raise UsageError(
                f"writes can be InsertOne, UpdateOne, ReplaceOne and DeleteOne from pymongo, not {name}: make others "
                "through the session, before the append"
            )
        if "." not in _namespace(write):
            raise UsageError(f"{name} needs the collection as namespace=collection.full_name, to go with a message")
    return list(writes)


def carry_out(
    session: AsyncClientSession | ClientSession,
    writes: list[Write],
    messages: list[Document],
    outbox: Any,
) -> Steps:
    """Make the writes, then insert the messages into the collection `outbox`.

    Yields the result of each request, or what gives it when awaited.

    :raises DuplicateKeyError, WriteError: MongoDB refuses one of the writes.
    :raises BulkWriteError: it refuses a message.
    :raises NoSuchRecord: an update or the like found no document; the transaction has been ended.
    """
    client: Any = session.client
    whose: Any = session  # of the same kind as its client, which no type says
    if writes and _has_bulk_write(client):
        inserts = [InsertOne(message, namespace=outbox.full_name) for message in messages]
        try:
            result = yield client.bulk_write([*writes, *inserts], session=whose)
        except InvalidOperation:
            pass  # Nothing was sent: the client encrypts, or the primary is an older one than was known.
        except ClientBulkWriteException as error:
            if not isinstance(error.error, OperationFailure) or error.error.code not in _REFUSALS:
                raise _as_one_by_one(error, len(writes)) from None
            # Where the server has ended the transaction for it, it says so now, by a TransientTransactionError.
            _without.add(client)
        else:
            yield from _check_that_all_were_found(session, writes, result)
            return
    for (namespace, _), alike in groupby(writes, key=lambda write: (_namespace(write), type(write))):
        database, _, collection = namespace.partition(".")
        group = list(alike)
        try:
            result = yield client[database][collection].bulk_write(group, session=whose)
        except BulkWriteError as error:
            raise _refused(error.details["writeErrors"][0]) from None
        yield from _check_that_all_were_found(session, group, result)
    if messages:
        yield outbox.insert_many(messages, session=whose)


async def wait_for(steps: Steps) -> None:
    """Carry out the requests of an asynchronous session."""
    try:
        request = next(steps)
        while True:
            try:
                result = await request
            except PyMongoError as error:
                request = steps.throw(error)
            else:
                request = steps.send(result)
    except StopIteration:
        return


def go_through(steps: Steps) -> None:
    """The same for a synchronous session, whose requests give their results at once."""
    try:
        result = next(steps)
        while True:
            result = steps.send(result)
    except StopIteration:
        return


def _namespace(write: Write) -> str:
    return write._namespace or ""


def _has_bulk_write(client: AsyncMongoClient[Any] | MongoClient[Any]) -> bool:
    """Whether all servers that are known have it: during an upgrade, any of them may be the primary next."""
    version = client.topology_description.common_wire_version
    return version is not None and version >= BULK_WRITE and client not in _without


def _check_that_all_were_found(
    session: AsyncClientSession | ClientSession,
    writes: Sequence[Write],
    result: BulkWriteResult | ClientBulkWriteResult,
) -> Steps:
    """End the transaction, so that nobody commits a message without its record, and raise NoSuchRecord."""
    deletions = sum(isinstance(write, DeleteOne) for write in writes)
    changes = sum(isinstance(write, UpdateOne | ReplaceOne) for write in writes)
    missing = deletions + changes - result.deleted_count - result.matched_count - result.upserted_count
    if missing:
        yield session.abort_transaction()
        names = ", ".join(sorted({_namespace(write) for write in writes}))
        raise NoSuchRecord(
            f"{missing} of {deletions + changes} updates, replacements and deletions ({names}) found no document; the "
            "transaction was ended, and neither they nor the message are written"
        )


def _as_one_by_one(error: ClientBulkWriteException, writes: int) -> BaseException:
    """The error that the same writes raise one after the other."""
    if isinstance(error.error, Exception):
        return error.error
    if not error.write_errors:
        return error
    first: Document = dict(error.write_errors[0])  # type: ignore[call-overload]  # a document, whatever its type says
    if first["idx"] < writes:
        return _refused(first)
    refused = {**first, "index": first["idx"] - writes, "op": first["op"]["document"]}
    return BulkWriteError({"writeErrors": [refused], "writeConcernErrors": [], "nInserted": refused["index"]})


def _refused(error: Document) -> WriteError:
    kind = DuplicateKeyError if error["code"] == 11000 else WriteError
    return kind(error["errmsg"], error["code"], error)
