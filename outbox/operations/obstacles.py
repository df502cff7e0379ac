"""Obstacles: what keeps relays from their work, as each has put it on record with its latest sign of life.

Whoever only reads sees nothing of a Redis that is full, a replica, or lacks a permission of the relay's user.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from outbox.database import Document
from outbox.printable import printable
from outbox.servers.causes import Cause

SERVERS = ("mongodb", "redis")
MOST = 500
"""Characters of a text that are shown: others may have written there."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """`relays`, by their names, wait for `server` because of `what`, and go on when somebody has done `do`."""

    server: str
    what: str
    do: str
    relays: tuple[str, ...]

    def __str__(self) -> str:
        who = f"The relay {self.relays[0]}" if len(self.relays) == 1 else f"{len(self.relays)} relays"
        wait = "waits" if len(self.relays) == 1 else "wait"
        return f"{who} {wait} for {self.server}: {self.what}"


def as_document(server: str, cause: Cause) -> Document:
    """As a relay puts it on record."""
    what = f"{cause.what} ({cause.detail})" if cause.detail else cause.what
    return {"server": server, "what": what, "do": cause.do}


def of_relays(relays: Iterable[Document]) -> tuple[Obstacle, ...]:
    """What the relays have on record, the same of several once. What others have written there is left out."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for relay in relays:
        said = relay.get("waits_for")
        for one in said if isinstance(said, list) else ():
            if isinstance(one, Mapping) and (texts := _texts(one)):
                found.setdefault(texts, []).append(printable(str(relay.get("id"))))
    return tuple(Obstacle(*texts, tuple(names)) for texts, names in found.items())


def _texts(one: Mapping[str, Any]) -> tuple[str, str, str] | None:
    server, what, do = (one.get(name) for name in ("server", "what", "do"))
    if server in SERVERS and isinstance(what, str) and isinstance(do, str):
        return str(server), printable(what)[:MOST], printable(do)[:MOST]
    return None
