"""Writes that MongoDB refuses now and would refuse each time: what is told of them, and whose they are to mend."""

from __future__ import annotations

from contextlib import suppress

import pymongo
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError, WriteError

from outbox.database import CONTENTS, FILES, IDEMPOTENCY, Database
from outbox.message.poison import TOO_LARGE
from outbox_api.errors import WriteRefused
from outbox_api.uploads import records

VALIDATOR = 121
_NOT_COUNTABLE = frozenset({2, 14})
"""BadValue and TypeMismatch, of a write: `version` is no number, or none that can become higher."""

_WRITTEN = (FILES, f"{CONTENTS}.files", f"{CONTENTS}.chunks", IDEMPOTENCY)


def is_lasting(error: BaseException) -> bool:
    """Whether the same write fails each time, until somebody changes a validator or a document."""
    code = _code(error)
    return code == VALIDATOR or code in TOO_LARGE or (code in _NOT_COUNTABLE and _of_a_write(error))


async def explain(error: PyMongoError, database: Database, seconds: float) -> WriteRefused:
    """What to answer when `is_lasting`. Asks MongoDB, for `seconds` at most, which collections have a validator."""
    code = _code(error)
    if code in TOO_LARGE:
        return WriteRefused("a document in `files` is so large that nothing can be added to it: make it smaller")
    if code != VALIDATOR:
        return WriteRefused(
            "`version` of a document in `files` is no number that can be counted up: remove it there, or make it 0"
        )
    having: list[str] = []
    with suppress(PyMongoError), pymongo.timeout(seconds):
        having = await records.with_validator(database, _WRITTEN)
    where = f", on {' or '.join(f'`{name}`' for name in having)}," if having else ""
    return WriteRefused(
        f"a validator of this database{where} does not allow what the API writes. Let it allow the fields that "
        'docs/migration.md lists under "Each status", or take it away with collMod'
    )


def _code(error: BaseException) -> int | None:
    if isinstance(error, BulkWriteError):
        return next((one.get("code") for one in error.details.get("writeErrors", ())), None)
    return error.code if isinstance(error, OperationFailure) else None


def _of_a_write(error: BaseException) -> bool:
    """And not of a whole command, of which it would be a defect."""
    return isinstance(error, BulkWriteError | WriteError)
