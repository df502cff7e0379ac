"""Idempotency keys: what the first upload under a key was answered, so that a repetition gets the same.

A key belongs to the caller who sends it: another caller's key of the same name is another key, as neither may be
answered with, or learn of, what the other uploaded.

A key is remembered in the transaction of its upload, so that there is one if and only if there is the other. It is
forgotten after a day by the server's clock (see `schema`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from pymongo import UpdateOne
from pymongo.read_concern import ReadConcern

from outbox.database import IDEMPOTENCY, Database, Document
from outbox.errors import KeyTaken
from outbox.streams.declaration import Priority
from outbox_api.uploads.contents import Measured


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a key: what was uploaded under it, and the answer. `key` is as `owned` gives it."""

    key: str
    fingerprint: str
    answer: Document

    def repeat(self, fingerprint: str) -> Document:
        """The first answer. Raises KeyTaken when something else was uploaded."""
        if fingerprint != self.fingerprint:
            raise KeyTaken(
                "this idempotency key was used for other files, another folder or priority: choose a new one"
            )
        return self.answer


def owned(owner: str, key: str) -> str:
    """The name under which the key of this owner is kept. An owner is the name of a key to the API: it has no slash."""
    return f"{owner}/{key}"


def fingerprint(folder_id: str, files: Iterable[tuple[str, Measured]], priority: Priority = Priority.NORMAL) -> str:
    """What makes two uploads the same: folder, names, contents, and a priority that is not the normal one."""
    told: list[object] = [folder_id, [[name, measured.size, measured.sha256] for name, measured in files]]
    told += [priority] if priority is not Priority.NORMAL else []
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


async def find(database: Database, key: str) -> Remembered | None:
    """What is remembered under `key`, and can no longer be rolled back."""
    # Linearizable: the winner of a race has committed when the loser asks, but a majority may not have it yet. Any
    # weaker read would miss it on a real replica set, or show what a failover takes back.
    keys = database[IDEMPOTENCY].with_options(read_concern=ReadConcern("linearizable"))
    found = await keys.find_one({"_id": key})
    return Remembered(key, found["fingerprint"], found["answer"]) if found else None


def remember(database: Database, remembered: Remembered) -> UpdateOne:
    """A write for the upload's own transaction: a DuplicateKeyError, when another upload under this key was faster."""
    # By the server's clock, which decides when a day is over: ours may be wrong. A key that is there does not match and
    # cannot be inserted again.
    new = {"_id": remembered.key, "created_at": {"$exists": False}}
    document = {"fingerprint": remembered.fingerprint, "answer": remembered.answer}
    change = {"$setOnInsert": document, "$currentDate": {"created_at": True}}
    return UpdateOne(new, change, upsert=True, namespace=database[IDEMPOTENCY].full_name)
