"""Agreement: whether what a program declares of streams is what is registered, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import structlog

from outbox.database import Document
from outbox.streams.declaration import Stream, Streams

log = structlog.get_logger(__name__)

OPERATIONAL = frozenset(
    {
        "retry", "rescue_seconds", "max_undelivered", "trim", "ignore_groups_after_seconds", "handler_seconds",
        "gone_is_done", "unique_seconds",
    }
)  # fmt: skip
"""Properties in which declarations may differ: the registered value is used, and `outbox init` sets it. So may what a
failure writes into the subject."""

SET_BY_INIT = OPERATIONAL | {"priorities", "groups"}
FAILURE = "subject.failure"
_OWN = frozenset({"name", "shard", "priority", "topic", "earlier_partitions"})
"""What no declaration says."""


def dump(stream: Stream) -> Document:
    """What a declaration says of a stream, as it is stored."""
    return {name: _plain(value) for name, value in asdict(stream).items() if name not in _OWN}


def _plain(value: Any) -> Any:
    """`value` as MongoDB gives it back. What a subject's `wanted` may be, it can store."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, str) else value


def differences(declared: Streams, registered: Streams) -> list[str]:
    """What is wrong in a declaration: a sentence for each property, with both values and what to do."""
    families = registered.families()
    faults = [unregistered(stream.name, registered) for stream in declared.declared() if stream.name not in families]
    return faults + [fault for stream in declared.declared() for fault in contradictions(stream, registered)]


def warn(declared: Streams, registered: Streams) -> None:
    """Log where the registered value of a property is used instead of the declared one."""
    families = registered.families()
    for stream in declared.declared():
        if there := families.get(stream.name):
            for name, here, other in differing(dump(stream), dump(there)):
                log.warning(
                    "stream declared otherwise: the registered value is used",
                    stream=stream.name, property=name, declared=here, registered=other,
                )  # fmt: skip


def contradictions(stream: Stream, registered: Streams, *, init: bool = False) -> list[str]:
    there = registered.families().get(stream.name)
    if there is None:
        return []
    return [
        f"stream {stream.name!r}: {name} is declared as {here!r} and registered as {other!r}: "
        + _advice(name, stream, there)
        for name, here, other in differing(dump(stream), dump(there))
        if not _may_differ(name, stream, there, init=init)
    ]


def _may_differ(name: str, stream: Stream, there: Stream, *, init: bool) -> bool:
    if name.startswith(FAILURE):
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
            return top in OPERATIONAL or top == "prefix"  # which is one for all, see other_prefix


def other_prefix(declared: Streams, registered: Streams, *, explicit: bool = True) -> list[str]:
    """What is wrong with the prefix of keys in Redis. `outbox init` can add it, and nothing changes it after that."""
    here, there = declared.prefix, registered.prefix
    if here == there or not (here or explicit):
        return []
    add = "" if there else "; or run `outbox init` with it: what is not done is published again under the new keys"
    return [f"OUTBOX_REDIS_PREFIX is {here!r} here, and {there!r} is registered: set it to that{add}"]


def prefix_in_code(declared: Streams, registered: Streams) -> list[str]:
    """What is wrong with a prefix that a program declares; one that declares none goes by the registered one."""
    here, there = declared.prefix, registered.prefix
    if here in ("", there):
        return []
    init = "" if there else f", or give it to all streams: OUTBOX_REDIS_PREFIX={here} outbox init"
    return [f"prefix is declared as {here!r} and registered as {there!r}: leave it out in code{init}"]


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


def differing(here: Mapping[str, Any], there: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The properties that are not the same, with both values; those inside of others by their path."""
    for name in dict.fromkeys([*here, *there]):
        mine, other = here.get(name), there.get(name)
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            yield from differing(mine, other, f"{above}{name}.")
        elif mine != other:
            yield f"{above}{name}", mine, other
