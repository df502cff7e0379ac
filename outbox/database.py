"""The outbox's database: the names of its collections, and where they and the application's subjects are.

The outbox owns only collections whose names begin with its prefix. Subjects are the application's, and may be in
another database of the same deployment: one transaction spans both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.collection import Collection as SyncCollection
from pymongo.database import Database as SyncDatabase

from outbox.errors import Owner, SettingsError

OUTBOX = "outbox"
META = "outbox_meta"
STREAMS = "outbox_streams"
PARTITIONS = "outbox_partitions"
RELAYS = "outbox_relays"
WORKERS = "outbox_workers"
RECOVERIES = "outbox_recoveries"
OUTAGES = "outbox_outages"
HISTORY = "outbox_history"
JOBS = "outbox_jobs"
AUDIT = "outbox_audit"
UNIQUE = "outbox_unique"
LOGOUTS = "outbox_logouts"
REFUSALS = "outbox_refusals"
FILES = "files"
IDEMPOTENCY = "idempotency_keys"
CONTENTS = "fs"
"""The GridFS bucket of file contents."""

PREFIX = OUTBOX
SERVERS_OWN = ("admin", "config", "local")
"""Databases in which no transaction can write."""
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,47}")

Document = dict[str, Any]

MAX_LIMIT = 8 * 1024 * 1024
"""What OUTBOX_MAX_MESSAGE_BYTES allows at most. A relay publishes nothing that is much larger."""
LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    dict, tz_aware=True, unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
"""Reads what a strict decoder refuses: a message that was written around the library is the one to look at."""


def check_prefix(prefix: str) -> str:
    """`prefix`, if collections can be called so. Raises ValueError."""
    if not _PREFIX.fullmatch(prefix) or prefix.startswith("system"):
        raise ValueError(
            f"{prefix!r:.60} cannot begin the name of a collection: use at most 48 letters, digits, _ and -, beginning "
            "with a letter, such as orders_outbox"
        )
    return prefix


def check_database(name: str) -> str:
    """`name`, if a database of our own or of an application can be called so. Raises ValueError."""
    if not name or len(name.encode(errors="replace")) > 63 or re.search(r'[\s./\\"$\0]', name) or name in SERVERS_OWN:
        raise ValueError(
            "cannot be the name of a database: use at most 63 letters, digits, _ and -, and none of MongoDB's own: "
            f"{', '.join(SERVERS_OWN)}"
        )
    return name


def collection_name(name: str, prefix: str = PREFIX) -> str:
    """What a collection is called: one of the outbox has `prefix` in the place of `outbox`."""
    return prefix + name.removeprefix(OUTBOX) if is_core(name) else name


def is_core(name: str) -> bool:
    """Whether a collection that this package calls `name` is the outbox's own."""
    return name == OUTBOX or name.startswith(f"{OUTBOX}_")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an outbox is: its database, the prefix of its collections, and the database of the subjects.

    :param application: the database of the application's own collections; by default the same.
    """

    database: str = "outbox"
    prefix: str = PREFIX
    application: str = ""

    def __post_init__(self) -> None:
        for what, name, check in (("database", self.database, check_database), ("prefix", self.prefix, check_prefix)):
            if not isinstance(name, str):
                raise SettingsError(f"{what} needs a name, such as {what}='orders', not {type(name).__name__}")
            try:
                check(name)
            except ValueError as error:
                raise SettingsError(f"{what} {error}") from None
            # PyMongo formats it: an enum's member would be another text.
            object.__setattr__(self, what, str.__str__(name))


class Database(AsyncDatabase[Document]):
    """A database with an outbox. `database[OUTBOX]` and the like are its collections, under its prefix.

    Any other name is a collection of the application, as in `database.application`.
    """

    def __init__(
        self,
        client: AsyncMongoClient[Document],
        place: Place | str,
        codec_options: CodecOptions[Document] | None = None,
        **concerns: Any,
    ) -> None:
        self.place = Place(place) if isinstance(place, str) else place
        self.owner: Owner | None = None
        """Its outbox, once it was asked for; see outbox.protocol.ownership."""
        self._made: dict[str, AsyncCollection[Document]] = {}
        super().__init__(client, self.place.database, codec_options, **concerns)

    @property
    def application(self) -> AsyncDatabase[Document]:
        """Where the subjects are."""
        return self.client.get_database(self.place.application or self.name, codec_options=self.codec_options)

    def __getitem__(self, name: str) -> AsyncCollection[Document]:
        made = self._made.get(name)
        if made is None:
            if is_core(name):
                made = AsyncCollection(self, collection_name(name, self.place.prefix))
            else:
                made = self.application[name]
            self._made[name] = made
        return made

    def reading(self, codec_options: CodecOptions[Document]) -> Database:
        """The same, whose documents are read with other options."""
        return Database(self.client, self.place, codec_options)


class PlainDatabase(SyncDatabase[Document]):
    """The same for plain functions."""

    def __init__(self, client: MongoClient[Document], place: Place | str) -> None:
        self.place = Place(place) if isinstance(place, str) else place
        super().__init__(client, self.place.database)

    @property
    def application(self) -> SyncDatabase[Document]:
        """Where the subjects are."""
        return self.client[self.place.application or self.name]

    def __getitem__(self, name: str) -> SyncCollection[Document]:
        if not is_core(name):
            return self.application[name]
        return SyncCollection(self, collection_name(name, self.place.prefix))
