"""Which streams a consumer reads, as they are registered, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from outbox.database import Database
from outbox.errors import UndeclaredGroup, WrongDeclaration
from outbox.settings import OutboxSettings
from outbox.streams import agreement, registry
from outbox.streams.declaration import Priority, Stream, Streams
from outbox.streams.priorities import Turns

log = structlog.get_logger(__name__)


async def streams_to_read(
    database: Database, settings: OutboxSettings, chosen: Sequence[Stream | str] | None, group: str | None = None
) -> tuple[Stream, ...]:
    """The highest priority first.

    :param chosen: streams, and names of streams that are read with all their priorities and shards; by default all
        that the settings declare; if they declare none, those that are registered for `group`, or the only one that is.
    :param group: read these streams as this group of theirs does; by default, as their own.
    :raises WrongDeclaration: what is declared, here or by `chosen`, is not what is registered; or nothing is
        declared, and several are registered, which may be for other workers.
    :raises UndeclaredGroup: a stream is not declared for the group; or for several, and none is given.
    """
    registered = await registry.agree(database, settings.streams, explicit=settings.declares)
    if chosen is None:
        chosen = _all_of(group, settings.streams if settings.declares else None, registered)
    chosen = [_as_group(group, one, registered) for one in chosen]
    given = [one for one in chosen if isinstance(one, Stream) and one.name == one.family]
    if given and (faults := agreement.differences(Streams(given), registered)):
        raise WrongDeclaration("; ".join(faults))
    found: list[Stream] = []
    for one in chosen:
        name = one.name if isinstance(one, Stream) else one
        if name not in registered:
            raise WrongDeclaration(agreement.unregistered(name, registered))
        found += [registered[name]] if isinstance(one, Stream) else registered.family(name)
    if settings.declares:
        agreement.warn(settings.streams, registered)
    return tuple(sorted(dict.fromkeys(found), key=lambda stream: list(Priority).index(stream.priority)))


def _all_of(group: str | None, declared: Streams | None, registered: Streams) -> list[str]:
    """The names of the declared streams, or of the registered ones, those that `group` reads."""
    names = list((registered if declared is None else declared).families())
    if group is None:
        if declared is None and len(names) > 1:
            raise WrongDeclaration(
                f"several streams are registered, {', '.join(map(repr, names))}: say which to read with --stream, or "
                "streams= in code, or declare them in OUTBOX_STREAMS"
            )
        for name in names:
            if registered[name].groups:
                known = ", ".join([registered[name].group, *registered[name].groups])
                raise UndeclaredGroup(f"stream {name!r} is read by several groups, {known}: say which with --group")
        return names
    read = [name for name in names if group in (registered[name].group, *registered[name].groups)]
    return read or [registered.of_group(name, group).name for name in names[:1]]


def _as_group(group: str | None, chosen: Stream | str, registered: Streams) -> Stream | str:
    """What is chosen, as `group` or the group that it names reads it."""
    if isinstance(chosen, Stream):
        there = registered.get(chosen.name)
        wanted = group or chosen.group
        return registered.of_group(chosen.name, wanted) if there and there.group != wanted else chosen
    if group is None or chosen not in registered:
        return chosen
    return registered.of_group(chosen, group).name


def in_order(
    streams: Sequence[Stream], order: Callable[[], Sequence[Stream]] | None = None
) -> Callable[[], Sequence[Stream]]:
    """What returns `streams` in the order to look, which `order` knows by their names; by default by turns, and so when
    it fails, of which the first time is logged."""
    turns = Turns(streams).next
    if order is None:
        return turns
    by_name, failed = {stream.name: stream for stream in streams}, False

    def ordered() -> Sequence[Stream]:
        nonlocal failed
        try:
            return [by_name[stream.name] for stream in order()]
        except Exception:
            if not failed:
                log.exception("order failed, streams are read by turns instead, not logged again")
            failed = True
            return turns()

    return ordered
