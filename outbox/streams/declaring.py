"""Declaring: which streams a program registers, and what of them it takes from those that are registered."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from outbox.database import Database
from outbox.errors import SettingsError, WrongDeclaration
from outbox.streams import agreement, registry
from outbox.streams.declaration import Streams
from outbox.streams.keys import check_key_prefix
from outbox.streams.registry import Registered


async def of_settings(database: Database, declared: Streams, *, explicit: bool, needs: Collection[str] = ()) -> Streams:
    """The streams that whoever sets an outbox up registers.

    :param explicit: whether somebody has set `declared`. A default says nothing of what is registered: that stays as
        it is, under the prefix of `declared` if that is set.
    :param needs: streams of a default that are added where they are not registered.
    :raises SchemaError: a registered stream cannot be understood.
    """
    registered = None if explicit else await registry.read(database)
    if registered is None:
        return declared
    added = [stream for stream in declared.declared() if stream.name in needs and stream.name not in registered]
    prefix = declared.prefix or registered.prefix
    every = [replace(stream, prefix=prefix) for stream in (*registered.declared(), *added)]
    return Registered(every, registered.revisions)


async def of_program(database: Database, declared: Streams) -> Streams:
    """The streams that a program registers: under the prefix that is registered, as it may know of none.

    :raises WrongDeclaration: they are declared with another one, which only `outbox init` may give to an outbox: with
        it, all streams would be others in Redis, also those that this program does not know.
    """
    registered = await registry.read(database)
    if registered is None or registered.prefix == declared.prefix:
        return declared
    if faults := agreement.prefix_in_code(declared, registered):
        raise WrongDeclaration("; ".join(faults))
    return Streams(replace(stream, prefix=registered.prefix) for stream in declared.declared())


def checked(streams: Streams) -> Streams:
    """The streams of a program. Raises SettingsError unless they are some, and keys in Redis can begin with their
    prefix, which all have.
    """
    if not isinstance(streams, Streams):
        raise SettingsError(f"Outbox needs Streams([Stream(...)]), not {type(streams).__name__}")
    if isinstance(streams, Registered):  # what an interrupted `outbox init` has left is no mistake of this program
        return streams
    if other := [stream for stream in streams.values() if stream.prefix != streams.prefix]:
        raise SettingsError(
            f"stream {other[0].name!r}: its prefix is {other[0].prefix!r}, and that of others {streams.prefix!r}: all "
            "streams of an outbox have one; leave it out, and `outbox init` with OUTBOX_REDIS_PREFIX sets it"
        )
    try:
        check_key_prefix(streams.prefix)
    except ValueError as error:
        raise SettingsError(f"prefix {error}") from None
    return streams
