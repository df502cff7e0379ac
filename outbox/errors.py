"""What can go wrong, grouped by what the caller can do about it.

::

    OutboxError
    ├── UsageError              the call is wrong: change it
    │   ├── NoTransaction       append was given a session without an open transaction
    │   ├── UndeclaredStream    the stream is not among the declared ones
    │   │   ├── NoSuchPriority  it has no stream for messages of this priority
    │   │   └── UndeclaredGroup no stream is declared from which this group reads
    │   ├── InvalidMessage      a field, header, key or size is not acceptable
    │   ├── NoSuchMessage       no message has this id
    │   ├── NoSuchRecord        a write that goes with a message found no document to change or delete
    │   ├── NotDead             only a dead message can be retried or discarded
    │   ├── NoSuchStream        no stream is registered under this name
    │   ├── NoSuchJob           no job has this id
    │   ├── JobEnded            the job is over, and cannot be cancelled
    │   ├── NoSuchFile          no file has these ids
    │   ├── StillUploading      the files are not complete yet
    │   └── KeyTaken            the idempotency key belongs to another upload or replay
    ├── UploadLost              the upload was taken for abandoned and removed: upload again
    ├── ContentsDamaged         stored contents are not what was uploaded
    ├── SettingsError           the environment is wrong: change it and start again
    │   └── ForeignStream       a stream in Redis belongs to another outbox
    ├── SchemaError             the database is not set up: run `outbox init`
    │   ├── WrongDeclaration    a stream is declared otherwise than it is registered: correct one of them
    │   └── NotOurs             what has a name that is needed is somebody else's: choose another one
    ├── LookAgain               a partition is not what its owner believed: reconcile it again
    ├── CommitUnknown           the outcome of a commit could not be found out: ask again later
    └── Unreachable             a server does not answer: wait, or start it
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class OutboxError(Exception):
    """The root of all errors that this package raises on purpose."""


class UsageError(OutboxError):
    """The call is wrong, and repeating it will not help."""


class NoTransaction(UsageError):
    """Append was called with a session that has no open transaction.

    Without one, the message and the record that it is about could be written apart from each other.
    """


class UndeclaredStream(UsageError, KeyError):
    """The stream is not declared, so that no relay would drain it."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the repr of the text


class NoSuchPriority(UndeclaredStream):
    """The stream has no such priority; the text says how to declare it."""


class UndeclaredGroup(UndeclaredStream):
    """The stream is not declared for this consumer group; the text says how to declare it."""


class InvalidMessage(UsageError, ValueError):
    """A message cannot be stored or sent as it is; the text says what to change."""


class NoSuchMessage(UsageError):
    """No message has this id: it never existed, was pruned, or was discarded."""


class NoSuchRecord(UsageError):
    """A write that goes with a message found no document to change or delete. The transaction has been ended."""


class NotDead(UsageError):
    """The message is not dead, so that there is nothing to retry or discard; the text tells its state."""


class NoSuchStream(UsageError):
    """No stream is registered under this name; the text names those that are near."""


class NoSuchJob(UsageError):
    """No job has this id: it never existed, or ended long ago."""


class JobEnded(UsageError):
    """The job is over, so that there is nothing to cancel; the text tells how it ended."""


class FilesError(UsageError):
    """Some of the given files will not do; `ids` are theirs."""

    fault: str

    def __init__(self, ids: Iterable[object]) -> None:
        self.ids = tuple(str(file_id) for file_id in ids)
        super().__init__(f"{self.fault}: {', '.join(self.ids)}")


class NoSuchFile(FilesError):
    """No file has these ids."""

    fault = "there is no such file"


class StillUploading(FilesError):
    """These files are not complete yet, so that there is nothing to read or parse."""

    fault = "still uploading"


class KeyTaken(UsageError):
    """The idempotency key belongs to another upload or replay."""


class UploadLost(OutboxError):
    """No byte came for so long that the upload was taken for abandoned, and what there was of it removed."""


class ContentsDamaged(OutboxError):
    """Stored contents have a gap or another length than was uploaded."""


class SettingsError(OutboxError):
    """A setting is missing, wrong, or unknown; the text names it and says what is expected."""


@dataclass(frozen=True, slots=True)
class Owner:
    """An outbox: its identity and the name of its database, which decide, and the hosts of that, for people.

    A copy of a database has the identity of what it was made of, and is another outbox all the same.
    """

    identity: str
    database: str
    hosts: str = ""

    @property
    def claim(self) -> str:
        """By which scripts know it."""
        return f"{self.identity} {self.database}"

    def __str__(self) -> str:
        return f"outbox {self.identity} (database {self.database!r})"


class ForeignStream(SettingsError):
    """A stream in Redis belongs to another outbox. Nothing was published, acknowledged or changed there."""

    def __init__(self, stream: str, ours: Owner, theirs: Owner) -> None:
        self.stream = stream
        self.ours = ours
        self.theirs = theirs
        where = [f"{owner.database!r} at {owner.hosts}" for owner in (theirs, ours) if owner.hosts]
        self.hosts = "; ".join(where)
        super().__init__(f"{self.what}{f' ({self.hosts})' if where else ''}. {self.do}")

    @property
    def what(self) -> str:
        return f"stream {self.stream!r} in Redis belongs to {self.theirs}, and this is {self.ours}"

    @property
    def do(self) -> str:
        return (
            "Nothing is published or acknowledged there. Give this one keys of its own by OUTBOX_REDIS_PREFIX, or "
            "another Redis; or, if its database has taken the other one's place, run: outbox init --adopt-streams"
        )


class SchemaError(OutboxError):
    """Collections, validator or indexes are missing or differ: `outbox init` sets them up."""


class WrongDeclaration(SchemaError):
    """A stream is declared otherwise than it is registered in the database; the text names what differs."""


class NotOurs(SchemaError):
    """Somebody else's collection, index or validator has a name that the outbox needs. Nothing was changed."""


class LookAgain(OutboxError):
    """A partition is not what its owner believed: it must open the checkpoint and reconcile again. Nothing was done."""


class CommitUnknown(OutboxError):
    """A commit was sent and its outcome could not be found out. Nothing is known to be lost or written."""


class Unreachable(OutboxError):
    """A server does not answer."""

    def __init__(self, server: str, address: str, reason: str) -> None:
        super().__init__(f"{server} at {address} cannot be reached: {reason}")
        self.server = server
        self.address = address
        self.reason = reason
