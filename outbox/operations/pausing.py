"""Pausing: stop a stream's messages from going on, and let them go on again, while everything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pymongo
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import STREAMS, Database, Document
from outbox.errors import NoSuchStream, UndeclaredStream, UsageError, WrongDeclaration
from outbox.operations import audit
from outbox.servers import transaction
from outbox.streams import known

MAX_REASON = 500


async def pause(database: Database, name: str, *, who: str, reason: str | None = None, seconds: float = 20.0) -> bool:
    """Pause a registered stream, with all its priorities, shards and groups; False: it is paused already.

    Within a second relays publish nothing of it, and workers that are built on our consumer begin nothing of it. What
    is in a handler's hands is finished; append, replay and the like work as ever. It stays so until `resume`, whatever
    is started again meanwhile.

    :param reason: for those who find it paused.
    :param seconds: for each of: the look at what is registered, the transaction, and its lost outcome.
    :raises NoSuchStream: no stream is registered under this name. UsageError: the reason is too long.
    :raises SchemaError: what is registered under this name cannot be understood.
    :raises CommitUnknown: whether it is paused could not be found out: look, or do it again.
    """
    if reason is not None and len(reason) > MAX_REASON:
        raise UsageError(f"the reason has {len(reason)} characters, more than the {MAX_REASON} that are kept")
    stored = {"at": "$$NOW", "who": {"$literal": who}, "reason": {"$literal": reason or None}}
    change: list[Document] = [{"$set": {"paused": stored}}, {"$unset": "resumed_at"}]
    told = {"reason": reason or None}
    return await _change(database, name, {"paused": None}, change, who, "pause-stream", told, seconds)


async def resume(database: Database, name: str, *, who: str, seconds: float = 20.0) -> bool:
    """Let a paused stream go on, within a second; False: it is not paused. Raises what `pause` does."""
    change: list[Document] = [{"$set": {"resumed_at": "$$NOW"}}, {"$unset": "paused"}]
    return await _change(database, name, {"paused": {"$ne": None}}, change, who, "resume-stream", {}, seconds)


async def _change(
    database: Database,
    name: str,
    where: Mapping[str, Any],
    change: list[Document],
    who: str,
    action: str,
    details: Mapping[str, Any],
    seconds: float,
) -> bool:
    with pymongo.timeout(seconds):
        await _refuse_unknown(database, name)

    async def body(session: AsyncClientSession) -> bool:
        # Not a new revision: nothing is declared otherwise.
        result = await database[STREAMS].update_one({"_id": name, **where}, change, session=session)
        if result.modified_count:
            told = {"stream": name, **details}
            await audit.record(database, who=who, action=action, details=told, session=session)
        return bool(result.modified_count)

    async def happened() -> bool:
        # A majority write to the same document waits for a transaction that is still under way.
        await database[STREAMS].update_one({"_id": name}, {"$currentDate": {"asked_at": True}})
        return await database[STREAMS].find_one({"_id": name, **where}) is None

    return await transaction.run(database.client, body, happened=happened, seconds=seconds)


async def _refuse_unknown(database: Database, name: str) -> None:
    found = await known.read(database)
    for fault in found.faults:
        if fault.name == name:
            raise fault
    registered = found.streams
    if registered is None:
        raise WrongDeclaration("no stream is registered. Run: outbox init")
    try:
        stream = registered[name]
    except UndeclaredStream as error:
        raise NoSuchStream(str(error)) from None
    if name not in registered.families():
        family = stream.topic or stream.family
        raise NoSuchStream(
            f"{name!r} is a part of stream {family!r}, which is paused and resumed as a whole: name {family!r}"
        )
