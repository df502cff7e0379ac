"""Which streams a consumer reads, as they are registered, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from outbox.errors import WrongDeclaration
from outbox.message.schema import Database
from outbox.settings import OutboxSettings
from outbox.streams import registry
from outbox.streams.declaration import Priority, Stream, Streams
from outbox.streams.priorities import Turns


async def streams_to_read(
    database: Database, settings: OutboxSettings, chosen: Sequence[Stream | str] | None
) -> tuple[Stream, ...]:
    """The highest priority first. Raises WrongDeclaration.

    :param chosen: streams, and names of streams that are read with all their priorities and shards; by default all
        that the settings declare.
    """
    registered = await registry.agree(database, settings.streams, explicit=settings.declares)
    if chosen is None:
        chosen = list(settings.streams.families())
    given = [one for one in chosen if isinstance(one, Stream) and one.name == one.family]
    if given and (faults := registry.differences(Streams(given), registered)):
        raise WrongDeclaration("; ".join(faults))
    found: list[Stream] = []
    for one in chosen:
        name = one.name if isinstance(one, Stream) else one
        if name not in registered:
            raise WrongDeclaration(registry.unregistered(name, registered))
        found += [registered[name]] if isinstance(one, Stream) else registered.family(name)
    if settings.declares:
        registry.warn(settings.streams, registered)
    return tuple(sorted(dict.fromkeys(found), key=lambda stream: list(Priority).index(stream.priority)))


def in_order(
    streams: Sequence[Stream], order: Callable[[], Sequence[Stream]] | None = None
) -> Callable[[], Sequence[Stream]]:
    """What returns `streams` in the order to look, which `order` knows by their names; by default by turns."""
    if order is None:
        return Turns(streams).next
    by_name = {stream.name: stream for stream in streams}
    return lambda: [by_name[stream.name] for stream in order()]
