"""Applications that stand on the core, and have collections of their own: the entry points of `outbox.parts`."""

from __future__ import annotations

from importlib.metadata import entry_points

from outbox.database import Database
from outbox.errors import SettingsError
from outbox.message import schema
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
