"""Registration: change or remove what is registered of a stream, while programs run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import LENIENT, OUTBOX, PARTITIONS, STREAMS, Database, Document
from outbox.errors import OutboxError, WrongDeclaration
from outbox.message.document import State
from outbox.operations import audit
from outbox.protocol import records
from outbox.servers import transaction
from outbox.servers.latest import as_of_now
from outbox.streams import agreement, known, registry
from outbox.streams.declaration import Stream, Streams

LOOK_SECONDS = 0.2
NOTICE_SECONDS = 60.0
"""How long relays may take to notice a change: each reads the registry three times in the time of its leases."""
UNDONE = (State.SCHEDULED, State.PENDING, State.PUBLISHED, State.DEAD)


class NotNow(OutboxError):
    """What is asked cannot be done while things are as they are. Nothing was changed; the text says what to do."""


async def change_partitions(database: Database, name: str, partitions: int, *, seconds: float = NOTICE_SECONDS) -> bool:
    """Give a stream another number of partitions, while messages wait, relays drain and programs append.

    Messages of one key keep their order, also those that running programs go on appending under the earlier number:
    from before the change on, relays let each message wait for earlier ones of its key in other partitions. May be
    called again after a failure. Returns whether there was anything to do.

    :raises WrongDeclaration: no stream of that name is registered. SettingsError: the number cannot be.
    :raises NotNow: a relay is too old, or has not noticed within `seconds`. Then nobody uses the new number.
    """
    document, before = await _find(database, name)
    after = replace(before, partitions=partitions)
    if partitions == before.partitions:
        return False
    numbers = sorted({*before.earlier_partitions, before.partitions, after.partitions})
    if numbers != sorted(before.earlier_partitions):
        await _refuse_old_relays(database, name)
        # First of all, whoever is interrupted: with one that is registered and has no lease, no program starts.
        await registry.ensure_partitions(database, Streams([replace(before, earlier_partitions=tuple(numbers))]))
        document = await _update(database, document, {"earlier_partitions": numbers})
    await registry.ensure_partitions(database, Streams([registry.load(document)]))
    await _noticed(database, name, document["revision"], seconds)
    await _change(database, document, {"partitions": partitions}, {"partitions": partitions, "from": before.partitions})
    return True


async def change_as_declared(database: Database, stream: Stream) -> bool:
    """Give a registered stream the group, groups, subject, shards and priorities that `stream` has.

    Programs that append or complete under the earlier declaration must have been stopped. Returns whether there was
    anything to do.

    :raises WrongDeclaration: it is not registered, or would have fewer shards, or another number of partitions.
    :raises SettingsError: one of its further names is another stream's. NotNow: messages of it are not done.
    """
    document, before = await _find(database, stream.name)
    if stream.shards < before.shards:
        raise WrongDeclaration(
            f"stream {stream.name!r}: shards cannot become fewer ({before.shards} are registered): declare a new "
            f"stream, and remove this one with `outbox streams remove {stream.name}` when it is empty"
        )
    if stream.partitions not in (before.partitions, *before.earlier_partitions):
        raise WrongDeclaration(
            f"stream {stream.name!r}: change the number of partitions first, with "
            f"`outbox streams change {stream.name} --partitions {stream.partitions}`"
        )
    # The prefix of its keys stays: with another one, the stream in Redis would be another one, perhaps of others.
    stream = replace(stream, partitions=before.partitions, prefix=before.prefix)
    after = agreement.dump(stream)
    if after == agreement.dump(before):
        return False
    if registered := await registry.read(database):
        registry.refuse_taken_names(registered, [stream])
    names = {"$in": [member.name for member in before.members()]}
    await _refuse_undone(database, stream.name, names, (State.SCHEDULED, State.PENDING, State.PUBLISHED), "changed")
    await registry.ensure_partitions(database, Streams([registry.load({**document, **after})]))
    members = {member.name for member in registry.load({**document, **after}).members()}
    gone = [member.name for member in before.members() if member.name not in members]
    await _change(database, document, after, {}, gone)
    return True


async def remove(database: Database, name: str) -> None:
    """Take a stream off the registry, with its leases. What is in Redis is left. Also what others wrote there.

    Not the leases of streams that another document registers, or may register, under names like those of this one.

    :raises WrongDeclaration: it is not registered. NotNow: messages of it are not done.
    :raises SchemaError: a later version has registered it.
    """
    document = await _document(database, name)
    mine: list[Any] = [known.named(name)]
    if registry.has_revision(document):  # or others wrote it; of a later version's, the members are not known
        mine = [member.name for member in registry.load(document).members()]
    found = await known.read(database)
    sound = found.streams.declared() if found.streams else []
    theirs = [member.name for stream in sound if stream.name != name for member in stream.members()]
    members = {"$in": mine, "$nin": theirs}
    await _refuse_undone(database, name, members, UNDONE, "removed")
    alone = {"$in": mine, "$nin": [*theirs, *found.others(beside=name)]}

    async def body(session: AsyncClientSession) -> None:
        this = {"_id": name, "revision": {"$eq": document.get("revision")}}
        if not (await database[STREAMS].delete_one(this, session=session)).deleted_count:
            raise _changed_meanwhile(name)
        await database[PARTITIONS].delete_many({"stream": alone}, session=session)
        told = {"stream": name}
        await audit.record(database, who=audit.me(), action="remove-stream", details=told, session=session)

    async def happened() -> bool:
        await _wait_for_transactions(database, name)
        return await database[STREAMS].find_one({"_id": name}) is None

    await transaction.run(database.client, body, happened=happened)


async def _find(database: Database, name: str) -> tuple[Document, Stream]:
    document = await _document(database, name)
    return document, registry.load(document)


async def _document(database: Database, name: str) -> Document:
    document = await database[STREAMS].with_options(codec_options=LENIENT).find_one({"_id": name})
    if document is None:
        registered = (await known.read(database)).streams
        raise WrongDeclaration(
            agreement.unregistered(name, registered) if registered else "no stream is registered. Run: outbox init"
        )
    return document


async def _change(
    database: Database, document: Document, values: Document, details: Document, gone: Sequence[str] = ()
) -> None:
    """The change and its audit record, in one transaction, and without the leases of its streams that are `gone`.

    As after a removal, a relay that holds one leaves it at its next look, and no other takes it.
    """
    name = document["_id"]

    async def body(session: AsyncClientSession) -> None:
        await _update(database, document, values, session)
        if gone:
            await database[PARTITIONS].delete_many({"stream": {"$in": list(gone)}}, session=session)
        told = {"stream": name, **details}
        await audit.record(database, who=audit.me(), action="change-stream", details=told, session=session)

    async def happened() -> bool:
        await _wait_for_transactions(database, name)
        return await database[STREAMS].find_one({"_id": name, **values}) is not None

    await transaction.run(database.client, body, happened=happened)


async def _wait_for_transactions(database: Database, name: str) -> None:
    """A majority write to the same document waits for a transaction that is still under way."""
    await database[STREAMS].update_one({"_id": name}, {"$currentDate": {"asked_at": True}})


async def _update(
    database: Database, document: Document, values: Document, session: AsyncClientSession | None = None
) -> Document:
    this = {"_id": document["_id"], "revision": document["revision"]}
    change = {"$set": values, "$inc": {"revision": 1}}
    if not (await database[STREAMS].update_one(this, change, session=session)).modified_count:
        raise _changed_meanwhile(document["_id"])
    return {**document, **values, "revision": document["revision"] + 1}


def _changed_meanwhile(name: str) -> NotNow:
    return NotNow(f"stream {name!r} was changed at the same moment: run the same command again")


async def _refuse_undone(database: Database, name: str, members: Document, states: Sequence[State], what: str) -> None:
    counts = {}
    async with as_of_now(database) as session:
        for state in states:
            query = {"state": state.value, "stream": members}
            if count := await database[OUTBOX].count_documents(query, session=session, limit=100_000):
                counts[state] = count
    if counts:
        found = ", ".join(f"{count} {state.value}" for state, count in counts.items())
        raise NotNow(
            f"stream {name!r} cannot be {what} while messages of it are not done: {found}. Stop the programs "
            "that append to it, wait until relays and workers have done the rest (`outbox status` says what keeps "
            "them), retry or discard what is dead (`outbox dead list`), and run the same command again"
        )


async def _refuse_old_relays(database: Database, name: str) -> None:
    if old := [str(relay["_id"]) for relay in await records.relays(database) if "revisions" not in relay]:
        raise NotNow(
            f"the number of partitions of stream {name!r} cannot be changed while relays of an earlier version run, as "
            f"they would not keep the order of messages: upgrade {', '.join(old)} first"
        )


async def _noticed(database: Database, name: str, revision: int, seconds: float) -> None:
    """Wait until every relay that drains the stream, or has drained it, knows this revision."""
    deadline = time.monotonic() + seconds
    while behind := [one["_id"] for one in await records.relays(database) if _is_behind(one, name, revision)]:
        if time.monotonic() > deadline:
            raise NotNow(
                f"the number of partitions of stream {name!r} is not changed yet: for {seconds:g} s relays "
                f"{', '.join(behind)} have not noticed that it will be. See what keeps them, and run the command again"
            )
        await asyncio.sleep(LOOK_SECONDS)


def _is_behind(relay: Document, name: str, revision: int) -> bool:
    known = {one["stream"]: one["revision"] for one in relay.get("revisions", [])}
    return bool(known.get(name, revision if "revisions" in relay else 0) < revision)
