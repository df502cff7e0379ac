"""The registry: the streams of a database, written by `outbox init` or `register`, read by every program at its start.

One document for each declared stream, with all of its properties; its `_id` is the stream's name, and `revision` rises
with each change. What is registered counts: a program whose own declaration contradicts it does not start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import structlog
from pymongo import ReadPreference
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern

from outbox.database import LENIENT, META, PARTITIONS, STREAMS, Database, Document, PlainDatabase
from outbox.errors import SchemaError, SettingsError, WrongDeclaration
from outbox.streams import agreement, pauses
from outbox.streams.declaration import Stream, Streams
from outbox.streams.pauses import Pauses
from outbox.streams.stored import NotUnderstood as NotUnderstood
from outbox.streams.stored import has_revision as has_revision
from outbox.streams.stored import load as load
from outbox.streams.stored import refuse_unreadable

log = structlog.get_logger(__name__)

NOW: dict[str, Any] = {"read_preference": ReadPreference.PRIMARY, "read_concern": ReadConcern("local")}
"""Reads what `outbox init` has just written, whatever the client of an application asks for otherwise."""


class Registered(Streams):
    """The registered streams, as they were last read."""

    def __init__(
        self, streams: Iterable[Stream], revisions: Mapping[str, int] | None = None, paused: Pauses | None = None
    ) -> None:
        super().__init__(streams)
        self.revisions = revisions or {}
        self.pauses = paused or self.pauses

    def take(self, other: Registered) -> None:
        """Become what was read later, for all who hold this object."""
        self._streams, self.revisions, self.pauses = other._streams, other.revisions, other.pauses

    def only(self, families: Iterable[str]) -> Registered:
        """Those of these names, with their priorities and shards."""
        chosen = set(families)
        revisions = {name: revision for name, revision in self.revisions.items() if name in chosen}
        return Registered((stream for stream in self.declared() if stream.name in chosen), revisions, self.pauses)


async def read(database: Database, session: AsyncClientSession | None = None) -> Registered | None:
    """The registered streams; None when there is none yet. Raises SchemaError when one cannot be understood."""
    documents = database[STREAMS].with_options(codec_options=LENIENT)
    return understood(await documents.find(session=session).sort("_id").to_list())


async def check(database: Database, declared: Streams) -> None:
    """Raise WrongDeclaration unless `declared` agrees with what is registered; SchemaError when there is no outbox."""
    streams = database[STREAMS].with_options(codec_options=LENIENT, **NOW)
    if not compare(declared, await streams.find().to_list()):
        await refuse_none(database)


def check_sync(database: PlainDatabase, declared: Streams) -> None:
    """The same for plain functions."""
    streams = database[STREAMS].with_options(codec_options=LENIENT, **NOW)
    if not compare(declared, streams.find().to_list()):
        refuse_none_sync(database)


async def refuse_none(database: Database) -> None:
    """Raise SchemaError when there is no outbox here, so that no relay would ever publish what is appended.

    Whoever may not look, or cannot now, is not refused: what comes next shows it. That somebody has deleted one of the
    two collections is no reason either: relays make good for it.
    """
    with suppress(PyMongoError):
        for name in (META, PARTITIONS):  # the version of the schema that had no meta document has partitions
            if await database[name].with_options(**NOW).find_one({}, {"_id": 1}):
                return
        _refuse(database)


def refuse_none_sync(database: PlainDatabase) -> None:
    """The same for plain functions."""
    with suppress(PyMongoError):
        for name in (META, PARTITIONS):
            if database[name].with_options(**NOW).find_one({}, {"_id": 1}):
                return
        _refuse(database)


def _refuse(database: Database | PlainDatabase) -> NoReturn:
    raise SchemaError(
        f"database {database.name!r} has no outbox whose collections begin with {database.place.prefix!r}, so no relay "
        "would publish what is appended there. Run: outbox init; or correct the names that Outbox is given, which are "
        "those of OUTBOX_DATABASE (or MONGODB_DATABASE) and OUTBOX_PREFIX"
    )


def compare(declared: Streams, documents: list[Document]) -> bool:
    """Raise WrongDeclaration unless `declared` agrees with the documents of the registry. False: there are none yet."""
    registered = understood(documents)
    if registered is None:
        return False
    faults = agreement.differences(declared, registered) + agreement.prefix_in_code(declared, registered)
    for stream in declared.declared():
        # What this program appends would not reach them.
        if more := sorted(set(registered.families().get(stream.name, stream).groups) - set(stream.groups)):
            faults.append(f"stream {stream.name!r}: groups {', '.join(more)} are registered and not declared: add them")
    if faults:
        raise WrongDeclaration("; ".join(faults))
    return True


async def agree(database: Database, declared: Streams, *, explicit: bool = True, needs: str = "") -> Registered:
    """The streams that a program goes by: the registered ones; or, while none is registered, those that it declares.

    :param explicit: whether `declared` was set by somebody. A default cannot be wrong.
    :param needs: a stream that the program cannot do without.
    :raises WrongDeclaration: a stream is declared otherwise than it is registered, or not registered.
    """
    return agreed(await read(database), declared, explicit=explicit, needs=needs)


def agreed(registered: Registered | None, declared: Streams, *, explicit: bool, needs: str = "") -> Registered:
    """The same of streams that were read."""
    if registered is None:
        return Registered(declared.declared())
    faults = agreement.differences(declared, registered) if explicit else []
    faults += agreement.other_prefix(declared, registered, explicit=explicit)
    if needs and needs not in registered and not faults:
        faults = [agreement.unregistered(needs, registered)]
    if faults:
        raise WrongDeclaration("; ".join(faults))
    return registered


async def register(database: Database, streams: Streams | Iterable[Stream], *, dry_run: bool = False) -> list[str]:
    """Register `streams` beside those that are registered, each with a lease for each of its partitions.

    Returns a line for each thing done, none when all was so already. Streams of others stay as they are. May be called
    any number of times, by any number of programs at once. Needs the collections that `outbox init` creates.

    Operational properties (`agreement.OPERATIONAL`) of a registered stream are set as declared here, and further
    priorities and groups are added.

    :param dry_run: change nothing; the lines say what would have been done.
    :raises WrongDeclaration: a registered stream has another group, subject, number of partitions or of shards, or has
        priorities or groups that are not declared. Nothing is changed.
    :raises SettingsError: a name is taken, by a shard or priority of another stream.
    """
    declared = streams if isinstance(streams, Streams) else Streams(streams)
    await refuse(database, declared)
    done: list[str] = []
    # First of all, whoever is interrupted: with one that is registered and has no lease, no program starts.
    created = [] if dry_run else await ensure_partitions(database, declared)
    for stream in _set_here(declared):
        done += await _register(database, stream, dry_run=dry_run)
    done += await _set_prefix(database, declared.prefix, dry_run=dry_run)
    registered = await read(database)
    known = registered.families() if registered else {}
    more = [stream for stream in declared.declared() if stream.name not in known]
    every = Streams([*registered.declared(), *more]) if registered else declared
    return [*done, *created, *await ensure_partitions(database, every, dry_run=dry_run)]


async def _set_prefix(database: Database, prefix: str, *, dry_run: bool) -> list[str]:
    """Of all streams, as one program has one prefix for all of them: also of those that are registered at the same
    moment by a program that has not seen it yet.
    """
    streams = registered.declared() if (registered := await read(database)) else []
    prefix = prefix or next((stream.prefix for stream in streams if stream.prefix), "")
    others = [stream for stream in streams if stream.prefix != prefix]
    if others and not dry_run:
        these = {"_id": {"$in": [stream.name for stream in others]}, "prefix": {"$ne": prefix}}
        await database[STREAMS].update_many(these, {"$set": {"prefix": prefix}, "$inc": {"revision": 1}})
    return [f"stream {one.name}: prefix is {prefix!r} now, and was {one.prefix!r}" for one in others]


async def refuse(database: Database, declared: Streams) -> None:
    """Raise what `register` would refuse, and change nothing."""
    for stream in declared.declared():
        refuse_unreadable(stream)
    registered = await read(database)
    if registered is None:
        return
    if faults := [
        fault for stream in _set_here(declared) for fault in agreement.contradictions(stream, registered, init=True)
    ]:
        raise WrongDeclaration("; ".join(faults))
    if registered.prefix and (faults := agreement.other_prefix(declared, registered)):
        raise WrongDeclaration("; ".join(faults))
    refuse_taken_names(registered, declared.declared())


def _set_here(streams: Streams) -> list[Stream]:
    """Without those that were only read (`declaring.of_settings`): what others change of them meanwhile stays."""
    return [stream for stream in streams.declared() if stream.name not in streams.revisions]


def refuse_taken_names(registered: Streams, changed: Iterable[Stream]) -> None:
    """Raise SettingsError when a stream takes the name of another registered one by a group, priority or shard that is
    added. No program could read the registry then.
    """
    Streams({**registered.families(), **{stream.name: stream for stream in changed}}.values())


async def ensure_partitions(database: Database, streams: Streams, *, dry_run: bool = False) -> list[str]:
    """One lease document each. Created here, because the server's time cannot be used in an upsert."""
    if dry_run:
        there = {str(document["_id"]) async for document in database[PARTITIONS].find({}, {"_id": 1})}
        return [f"created partition {partition}" for partition in streams.partitions() if str(partition) not in there]
    done = []
    for partition in streams.partitions():
        result = await database[PARTITIONS].update_one(
            {"_id": str(partition)},
            {
                "$setOnInsert": {
                    "stream": partition.stream, "number": partition.number,
                    "owner": None, "token": 0, "expires_at": None, "batch": 0, "tag": "",
                }
            },
            upsert=True,
        )  # fmt: skip
        if result.upserted_id is not None:
            done.append(f"created partition {partition}")
    return done


def understood(documents: Sequence[Document]) -> Registered | None:
    """The streams that these documents of the registry register; None: there are none. Raises SchemaError."""
    if not documents:
        return None
    streams = [load(one) for one in documents]  # first: what others wrote has no revision, or an `_id` that is no key
    revisions = {one["_id"]: one["revision"] for one in documents}
    try:
        return Registered(streams, revisions, pauses.understood(documents))
    except SettingsError:
        _refuse_collision(documents, streams)
        raise


def _refuse_collision(documents: Sequence[Document], streams: Sequence[Stream]) -> None:
    """Raise NotUnderstood of the first that has a name, or a key in Redis, of one before it."""
    for number, stream in enumerate(streams):
        for other in streams[: number + 1]:
            try:
                Streams({other.name: other, stream.name: stream}.values())
            except SettingsError as error:
                raise NotUnderstood(documents[number], f"beside {other.name!r}: {error}") from None


async def _register(database: Database, stream: Stream, *, dry_run: bool) -> list[str]:
    values = agreement.dump(stream)
    while True:
        there = await database[STREAMS].find_one({"_id": stream.name})
        if there is None:
            try:
                if not dry_run:
                    await database[STREAMS].insert_one({"_id": stream.name, "revision": 1, **values})
            except DuplicateKeyError:
                continue  # another process was faster
            return [f"registered stream {stream.name}"]
        registered = load(there)
        if faults := agreement.contradictions(stream, Streams([registered]), init=True):
            raise WrongDeclaration("; ".join(faults))
        changed = [
            (name, here, other)
            for name, here, other in agreement.differing(values, agreement.dump(registered))
            if name.partition(".")[0] in agreement.SET_BY_INIT or name.startswith(agreement.FAILURE)
        ]
        lines = [f"stream {stream.name}: {name} is {here!r} now, and was {other!r}" for name, here, other in changed]
        if dry_run or not changed:
            return lines
        update = {
            "$set": dict(_of(values, name) for name, _, _ in changed),
            "$inc": {"revision": 1},
        }
        result = await database[STREAMS].update_one({"_id": stream.name, "revision": there["revision"]}, update)
        if result.modified_count:
            return lines


def _of(values: Document, name: str) -> tuple[str, Any]:
    """What is set in the registry for the property `name` to be as in `values`."""
    if name.startswith(agreement.FAILURE):
        return agreement.FAILURE, values["subject"]["failure"]
    top = name.partition(".")[0]
    return top, values[top]
