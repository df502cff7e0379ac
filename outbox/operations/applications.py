"""Applications that stand on the core, and have collections of their own: the entry points of `outbox.parts`."""

from __future__ import annotations

from importlib.metadata import entry_points

from outbox.database import FILES, Database
from outbox.errors import SchemaError, SettingsError
from outbox.message import meta, schema
from outbox.message.collection import Part


def files() -> Part:
    """The collections of the files application. Raises SettingsError when it is not installed."""
    for found in entry_points(group="outbox.parts", name="files"):
        part = found.load()
        assert isinstance(part, Part)
        return part
    raise SettingsError("the files application is not installed: pip install 'outbox-relay[api]'")


async def set_up_here(database: Database) -> list[Part]:
    """The applications that this outbox was set up with, by this version or an earlier one."""
    every = [files()] if entry_points(group="outbox.parts", name="files") else []
    return [part for part in every if await schema.is_set_up(database, part)]


SET_UP = "outbox init --files"
"""What sets the files application up."""


async def has_files(database: Database) -> bool:
    """Whether the files are this outbox's: it was set up with the files application.

    Files of another outbox in the same database look the same, and have their messages there.
    """
    where = database.application.name
    claim = FILES if where == database.name else f"{where}/{FILES}"
    return claim in (await meta.known(database)).collections


async def check_files(database: Database) -> None:
    """Raise SchemaError, with what to do, when the files are not this outbox's: others may have messages about them."""
    if await has_files(database):
        return
    where = f"{database.application.name}.{FILES}"
    raise SchemaError(
        f"the outbox {database.place.prefix!r} in {database.name!r} was not set up with the files application: "
        f"another one may have messages about {where}, and each file would be parsed twice. Nothing was changed. If "
        f"these files are this outbox's, run: {SET_UP}, with --adopt-collection {FILES} if another program made them; "
        "otherwise correct OUTBOX_PREFIX, OUTBOX_DATABASE or MONGODB_DATABASE"
    )
