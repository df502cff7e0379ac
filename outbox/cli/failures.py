"""What an error means for who called a command: an exit code, and one line that says what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from outbox.cli import standard_streams
from outbox.errors import (
    CommitUnknown,
    FilesError,
    JobEnded,
    NoSuchJob,
    NoSuchMessage,
    NotDead,
    NotOurs,
    OutboxError,
    SettingsError,
    Unreachable,
    UsageError,
    WrongDeclaration,
)

FAILED, USAGE, UNREACHABLE = 1, 2, 3

_NEXT = {
    "mongodb": "Start it, or set MONGODB_URI; to try things out, `outbox up` starts all that is needed.",
    "redis": "Start it, or set REDIS_HOST and REDIS_PORT; to try things out, `outbox up` starts all that is needed.",
}

_LOOK = "Look with `outbox audit`, and `outbox jobs list` for a replay: repeat only what is not there"
"""What was done is on record, by the same transaction. A replay or `enqueue` that is repeated does its work again."""


class BrokenCommand(OutboxError):
    """A command that another package brings cannot be loaded."""


class Unfinished(OutboxError):
    """A command did what it could, and some of what was asked is not done; the text says what."""


@dataclass(frozen=True, slots=True)
class Failure:
    code: int
    text: str


def explain(error: BaseException) -> Failure | None:
    """None: not an error that anything is known about, but a defect."""
    match error:
        case BaseExceptionGroup(exceptions=(only,)):  # from a task group with one failed task
            return explain(only)
        case Unreachable():
            return Failure(UNREACHABLE, _sentences(str(error), _NEXT.get(error.server.lower(), "")))
        case NoSuchMessage() | NotDead() | NoSuchJob() | JobEnded() | FilesError():
            return Failure(FAILED, str(error))
        case UsageError() | SettingsError() | WrongDeclaration() | NotOurs():
            return Failure(USAGE, str(error))
        case CommitUnknown():
            return Failure(FAILED, _sentences(str(error), _LOOK))
        case OutboxError():
            return Failure(FAILED, str(error))
        case OSError() if standard_streams.is_full(error):
            done = "What it would have said may be done: look with `outbox audit` before running it again"
            return Failure(FAILED, f"the output cannot be written: {error.strerror}. {done}")
    return None


def _sentences(*texts: str) -> str:
    return " ".join(f"{text.rstrip('.')}." for text in texts if text)
