"""Audit: what operators did, who and when, kept for everybody on call to see.

An action and its record are one transaction wherever the action has one, so that there is neither without the other.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pydantic import InstanceOf, TypeAdapter
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import AUDIT, Database, Document
from outbox.message import pages
from outbox.operations.messages import plain
from outbox.operations.records import Moment, Whole, or_none
from outbox.servers.clock import server_time

MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class Record:
    """One action. `count`: of how many messages or other things, None: not counted; `at`: by the server's clock."""

    id: InstanceOf[ObjectId]
    at: Moment
    who: str
    action: str
    count: Whole | None
    details: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return plain(
            {
                "_id": self.id, "at": self.at, "who": self.who, "action": self.action,
                "count": self.count, "details": dict(self.details),
            }
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, newest first. `before`: pass it to get the next page; None after the last."""

    records: tuple[Record, ...]
    before: ObjectId | None


def me() -> str:
    """Who runs this process: `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


async def record(
    database: Database,
    *,
    who: str,
    action: str,
    count: int | None = 1,
    details: Mapping[str, Any] | None = None,
    session: AsyncClientSession | None = None,
) -> None:
    """Keep that `who` did `action`, with as much of the what as somebody will ask for later.

    :param session: the one of the action's own transaction, if it has one.
    """
    # The server's time, asked for beforehand. An update could take it by itself; but whoever may update could change
    # what is on record, and the API must not.
    await database[AUDIT].insert_one(
        {
            "_id": ObjectId(), "at": await server_time(database), "who": who, "action": action, "count": count,
            "details": dict(details or {}),
        },
        session=session,
    )  # fmt: skip


async def page(
    database: Database,
    *,
    who: str | None = None,
    action: str | None = None,
    before: ObjectId | None = None,
    limit: int = 50,
) -> Page:
    """Up to `limit` records (500 at most), and about 2 MB, that match all that is given, newest first.

    Those that cannot be read are counted, and left out.
    """
    limit = min(max(limit, 1), MAX_PAGE)
    query: Document = {}
    if who is not None:
        query["who"] = who
    if action is not None:
        query["action"] = action
    query["_id"] = {"$lt": before} if before else {"$type": "objectId"}  # others have written the rest
    found, more = await pages.read(database[AUDIT], query, limit=limit)
    return Page(
        tuple(record for one in found if (record := or_none(understood, one))), found[-1]["_id"] if more else None
    )


def understood(document: Document) -> Record:
    """What a document records. Raises ValueError when that cannot be read."""
    details = document.get("details", {})
    if isinstance(details, str):  # as large as older versions wrote it, and so left out by `pages`
        details = {"left out": details}
    return _RECORD.validate_python({"count": 1, **document, "id": document.get("_id"), "details": details})


_RECORD = TypeAdapter(Record)
