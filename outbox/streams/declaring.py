"""Declaring: which streams a program registers, and what of them it takes from those that are registered."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from outbox.database import Database
from outbox.streams import registry
from outbox.streams.declaration import Streams
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
