"""The registry: the streams of a database, written by `outbox init` or `register`, read by every program at its start.

One document for each declared stream, with all of its properties; its `_id` is the stream's name, and `revision` rises
with each change. What is registered counts: a program whose own declaration contradicts it does not start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import structlog
from bson import Int64
from pydantic import TypeAdapter, ValidationError
from pymongo.errors import DuplicateKeyError

from outbox.database import PARTITIONS, STREAMS, Database, Document
from outbox.errors import SchemaError, SettingsError, WrongDeclaration
from outbox.streams.declaration import Stream, Streams

log = structlog.get_logger(__name__)

OPERATIONAL = frozenset(
    {
        "retry", "rescue_seconds", "max_undelivered", "trim", "ignore_groups_after_seconds", "handler_seconds",
        "gone_is_done",
    }
)  # fmt: skip
"""Properties in which declarations may differ: the registered value is used, and `outbox init` sets it. So may what a
failure writes into the subject."""

_SET_BY_INIT = OPERATIONAL | {"priorities", "groups"}
_FAILURE = "subject.failure"
_OWN = frozenset({"name", "shard", "priority", "topic", "earlier_partitions"})
"""What no declaration says."""
_STREAM = TypeAdapter(Stream)


class Registered(Streams):
    """The registered streams, as they were last read."""

    def __init__(self, streams: Iterable[Stream], revisions: Mapping[str, int] | None = None) -> None:
        super().__init__(streams)
        self.revisions = revisions or {}

    def take(self, other: Registered) -> None:
        """Become what was read later, for all who hold this object."""
        self._streams, self.revisions = other._streams, other.revisions

    def only(self, families: Iterable[str]) -> Registered:
        """Those of these names, with their priorities and shards."""
        chosen = set(families)
        revisions = {name: revision for name, revision in self.revisions.items() if name in chosen}
        return Registered((stream for stream in self.declared() if stream.name in chosen), revisions)


async def read(database: Database) -> Registered | None:
    """The registered streams; None when there is none yet. Raises SchemaError when one cannot be understood."""
    return _understood(await database[STREAMS].find().sort("_id").to_list())


def compare(declared: Streams, documents: list[Document]) -> None:
    """Raise WrongDeclaration unless `declared` agrees with the documents of the registry, or there are none yet."""
    registered = _understood(documents)
    if registered is None:
        return
    faults = differences(declared, registered)
    for stream in declared.declared():
        # What this program appends would not reach them.
        if more := sorted(set(registered.families().get(stream.name, stream).groups) - set(stream.groups)):
            faults.append(f"stream {stream.name!r}: groups {', '.join(more)} are registered and not declared: add them")
    if faults:
        raise WrongDeclaration("; ".join(faults))


async def agree(database: Database, declared: Streams, *, explicit: bool = True, needs: str = "") -> Registered:
    """The streams that a program goes by: the registered ones; or, while none is registered, those that it declares.

    :param explicit: whether `declared` was set by somebody. A default cannot be wrong.
    :param needs: a stream that the program cannot do without.
    :raises WrongDeclaration: a stream is declared otherwise than it is registered, or not registered.
    """
    registered = await read(database)
    if registered is None:
        return Registered(declared.declared())
    faults = differences(declared, registered) if explicit else []
    faults += _other_prefix(declared, registered, explicit=explicit)
    if needs and needs not in registered and not faults:
        faults = [unregistered(needs, registered)]
    if faults:
        raise WrongDeclaration("; ".join(faults))
    return registered


async def register(database: Database, streams: Streams | Iterable[Stream], *, dry_run: bool = False) -> list[str]:
    """Register `streams` beside those that are registered, each with a lease for each of its partitions.

    Returns a line for each thing done, none when all was so already. Streams of others stay as they are. May be called
    any number of times, by any number of programs at once. Needs the collections that `outbox init` creates.

    Operational properties (`OPERATIONAL`) of a registered stream are set as declared here, and further priorities and
    groups are added.

    :param dry_run: change nothing; the lines say what would have been done.
    :raises WrongDeclaration: a registered stream has another group, subject, number of partitions or of shards, or has
        priorities or groups that are not declared. Nothing is changed.
    :raises SettingsError: a name is taken, by a shard or priority of another stream.
    """
    declared = streams if isinstance(streams, Streams) else Streams(streams)
    await refuse(database, declared)
    done: list[str] = []
    for stream in declared.declared():
        done += await _register(database, stream, dry_run=dry_run)
    if declared.prefix and not dry_run:  # of all, as one program has one prefix for all of them
        others = {"prefix": {"$ne": declared.prefix}}
        await database[STREAMS].update_many(others, {"$set": {"prefix": declared.prefix}, "$inc": {"revision": 1}})
    registered = await read(database)
    known = registered.families() if registered else {}
    more = [stream for stream in declared.declared() if stream.name not in known]
    every = Streams([*registered.declared(), *more]) if registered else declared
    return done + await ensure_partitions(database, every, dry_run=dry_run)


async def refuse(database: Database, declared: Streams) -> None:
    """Raise what `register` would refuse, and change nothing."""
    registered = await read(database)
    if registered is None:
        return
    new = [stream for stream in declared.declared() if stream.name not in registered.families()]
    if faults := [fault for stream in declared.declared() for fault in _contradictions(stream, registered, init=True)]:
        raise WrongDeclaration("; ".join(faults))
    if registered.prefix and (faults := _other_prefix(declared, registered)):
        raise WrongDeclaration("; ".join(faults))
    Streams([*registered.declared(), *new])


def differences(declared: Streams, registered: Streams) -> list[str]:
    """What is wrong in a declaration: a sentence for each property, with both values and what to do."""
    families = registered.families()
    faults = [unregistered(stream.name, registered) for stream in declared.declared() if stream.name not in families]
    return faults + [fault for stream in declared.declared() for fault in _contradictions(stream, registered)]


def warn(declared: Streams, registered: Streams) -> None:
    """Log where the registered value of a property is used instead of the declared one."""
    families = registered.families()
    for stream in declared.declared():
        if there := families.get(stream.name):
            for name, here, other in _differing(dump(stream), dump(there)):
                log.warning(
                    "stream declared otherwise: the registered value is used",
                    stream=stream.name, property=name, declared=here, registered=other,
                )  # fmt: skip


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


def dump(stream: Stream) -> Document:
    """What a declaration says of a stream, as it is stored."""
    return {name: _plain(value) for name, value in asdict(stream).items() if name not in _OWN}


def load(document: Document) -> Stream:
    """Raises SchemaError."""
    try:
        if type(document.get("revision")) not in (int, Int64):
            raise SettingsError("it has no revision")
        return _STREAM.validate_python({"name": document["_id"], **document})
    except (ValidationError, SettingsError) as error:
        raise SchemaError(
            f"stream {document['_id']!r} in {STREAMS} cannot be understood: {error}. "
            "Was it registered by a later version?"
        ) from None


def _plain(value: Any) -> Any:
    """`value` as MongoDB gives it back. What a subject's `wanted` may be, it can store."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, str) else value


def _understood(documents: list[Document]) -> Registered | None:
    if not documents:
        return None
    return Registered([load(one) for one in documents], {one["_id"]: one["revision"] for one in documents})


async def _register(database: Database, stream: Stream, *, dry_run: bool) -> list[str]:
    values = dump(stream)
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
        if faults := _contradictions(stream, Streams([registered]), init=True):
            raise WrongDeclaration("; ".join(faults))
        changed = [
            (name, here, other)
            for name, here, other in _differing(values, dump(registered))
            if name.partition(".")[0] in _SET_BY_INIT or name.startswith(_FAILURE)
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
    if name.startswith(_FAILURE):
        return _FAILURE, values["subject"]["failure"]
    top = name.partition(".")[0]
    return top, values[top]


def _contradictions(stream: Stream, registered: Streams, *, init: bool = False) -> list[str]:
    there = registered.families().get(stream.name)
    if there is None:
        return []
    return [
        f"stream {stream.name!r}: {name} is declared as {here!r} and registered as {other!r}: "
        + _advice(name, stream, there)
        for name, here, other in _differing(dump(stream), dump(there))
        if not _may_differ(name, stream, there, init=init)
    ]


def _may_differ(name: str, stream: Stream, there: Stream, *, init: bool) -> bool:
    if name.startswith(_FAILURE):
        return True
    match name.partition(".")[0]:
        case "subject" if name == "subject.id_type":
            return stream.subject is not None and stream.subject.id_type is None  # left out
        case "partitions":
            return stream.partitions in there.earlier_partitions
        case "priorities" | "groups" as top:
            # A program may know fewer than there are, and `outbox init` adds some.
            here, known = set(getattr(stream, top)), set(getattr(there, top))
            return known <= here if init else here <= known
        case top:
            return top in OPERATIONAL or top == "prefix"  # which is one for all, see _other_prefix


def _other_prefix(declared: Streams, registered: Streams, *, explicit: bool = True) -> list[str]:
    """What is wrong with the prefix of keys in Redis. `outbox init` can add it, and nothing changes it after that."""
    here, there = declared.prefix, registered.prefix
    if here == there or not (here or explicit):
        return []
    add = "" if there else "; or run `outbox init` with it: what is not done is published again under the new keys"
    return [f"OUTBOX_REDIS_PREFIX is {here!r} here, and {there!r} is registered: set it to that{add}"]


def _advice(name: str, stream: Stream, there: Stream) -> str:
    match name:
        case "priorities" | "groups" if set(getattr(there, name)) < set(getattr(stream, name)):
            return f"correct OUTBOX_STREAMS, or run `outbox init` with this declaration to add to the {name}"
        case "partitions":
            change = f"`outbox streams change {stream.name} --partitions {stream.partitions}`"
            return f"correct OUTBOX_STREAMS, or change it for all programs with {change}"
        case _:
            return "correct OUTBOX_STREAMS, or change it for all programs as `outbox streams change --help` says"


def unregistered(name: str, registered: Streams) -> str:
    """A sentence: what is missing, what is there, what to do."""
    return (
        f"stream {name!r} is not registered in the database; registered are: {', '.join(registered.families())}. Run "
        "`outbox init` with OUTBOX_STREAMS declaring it, or correct the name"
    )


def _differing(here: Mapping[str, Any], there: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The properties that are not the same, with both values; those inside of others by their path."""
    for name in dict.fromkeys([*here, *there]):
        mine, other = here.get(name), there.get(name)
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            yield from _differing(mine, other, f"{above}{name}.")
        elif mine != other:
            yield f"{above}{name}", mine, other
