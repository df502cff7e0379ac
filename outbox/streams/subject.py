"""The declaration of a subject: which documents a stream's messages are about, and when one is still wanted."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bson import Regex

from outbox.errors import SettingsError
from outbox.printable import printable
from outbox.streams.identifiers import TYPES, as_stored

ERROR = "{error}"
MAX_ERROR = 500


@dataclass(frozen=True, slots=True)
class Subject:
    """What a stream's messages are about: a document, whose `_id` was given to `append`, or is the message's key.

    A message is still wanted while the subject's `field`, which may be inside of others (`status.parsing`), has the
    value `wanted`, or one of them if that is a list; None also stands for a field that is not there. Workers that know
    nothing of the outbox settle it by changing that field, and so still get exact recovery.

    `id_type` is how the `_id` of a message that was appended by its key alone is read from that key: `objectId`,
    `string`, `int`, `uuid` and others, as `identifiers.TYPES` lists them. None is `objectId` for the files of the files
    application; for all others, such a message is about the document whose `_id` is the key as a string, or as an
    ObjectId.

    `failure`, fields and their values, is what the subject gets when a message about it dies; in a text, `{error}`
    stands for the reason. None is `{field: "error: {error}"}` for the files of the files application, and nothing for
    all others. A retry sets `field` back to the first of the wanted values, if `failure` has changed it. Nothing else
    is ever written into a subject, but `version` and `updated_at` of those files.
    """

    collection: str = "files"
    field: str = "parsing"
    wanted: Any = dataclasses.field(default="queued", hash=False)
    id_type: str | None = None
    failure: Mapping[str, Any] | None = dataclasses.field(default=None, hash=False)

    def __post_init__(self) -> None:
        for name in ("collection", "field", "id_type"):
            object.__setattr__(self, name, _plain(getattr(self, name)))
        where = f"subject {self.collection}.{self.field}"
        if not isinstance(self.collection, str) or not _is_collection(self.collection):
            raise SettingsError(f"{where}: {self.collection!r:.80} is no name of a collection, such as orders")
        several = isinstance(self.wanted, list | tuple | set | frozenset)
        wanted = [self._stored(where, value) for value in (self.wanted if several else [self.wanted])]
        object.__setattr__(self, "wanted", tuple(wanted) if several else wanted[0])
        if not self.values or any(isinstance(value, _NO_SCALARS) for value in self.values):
            raise SettingsError(
                f'{where}: wanted is {self.wanted!r:.80}; it is a value such as "queued", or a list of such values'
            )
        if self.id_type is None and self.is_file:
            object.__setattr__(self, "id_type", "objectId")
        if self.id_type is not None and self.id_type not in TYPES:
            raise SettingsError(f"{where}: id_type {self.id_type!r:.40} is unknown; use one of {', '.join(TYPES)}")
        if self.failure is not None and not isinstance(self.failure, Mapping):
            raise SettingsError(
                f'{where}: failure is {self.failure!r:.80}; it is fields and values, such as {{"status": "failed"}}'
            )
        if self.failure is None:
            object.__setattr__(self, "failure", {self.field: f"error: {ERROR}"} if self.is_file else {})
        object.__setattr__(self, "failure", {_plain(name): self._stored(where, v) for name, v in self._failure.items()})
        for name in (self.field, *self._failure):
            if not isinstance(name, str) or not _is_field(name):
                raise SettingsError(f"{where}: {name!r:.80} is no name of a field, such as status or status.parsing")
        if self.ended is None and self.field in self._failure:
            raise SettingsError(
                f"{where}: what a failure writes into it must differ from all other results, such as "
                f'{{"{self.field}": "error: {ERROR}"}}'
            )

    @staticmethod
    def _stored(where: str, value: object) -> Any:
        """As the registry gives it back, so that declarations can be compared."""
        try:
            return as_stored(value)
        except ValueError as error:
            raise SettingsError(f"{where}: {value!r:.80} cannot be stored in MongoDB: {error}") from None

    @property
    def is_file(self) -> bool:
        """Whether it is a file of the files application, whose documents have a version and a time of change."""
        return (self.collection, self.field) == ("files", "parsing")

    @property
    def values(self) -> list[Any]:
        """The wanted values."""
        return list(self.wanted) if isinstance(self.wanted, tuple) else [self.wanted]

    def value_of(self, document: Mapping[str, Any]) -> Any:
        """What stands in `field` of a document; None also when there is no such field."""
        value: Any = document
        for name in self.field.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    @property
    def shown(self) -> str:
        """The wanted values, for people."""
        return " or ".join(map(repr, self.values))

    @property
    def _failure(self) -> Mapping[str, Any]:
        return self.failure or {}

    def failed(self, error: str) -> dict[str, Any]:
        """The fields that a failure sets, with a reason of a length that a list of subjects can show."""
        line = " ".join(error.split())
        return {
            name: printable(value.replace(ERROR, line)[:MAX_ERROR]) if isinstance(value, str) else value
            for name, value in self._failure.items()
        }

    @property
    def ended(self) -> Any:
        """What matches a `field` that a failure has set. None: a failure does not set it, or it could be any value."""
        value = self._failure.get(self.field)
        if not isinstance(value, str) or ERROR not in value:
            return None if value is None or value in self.values else {"$eq": value}
        start = value.partition(ERROR)[0]
        return {"$regex": f"^{re.escape(start.rstrip(' :') or start)}"} if start else None


_NO_SCALARS = (list, tuple, set, Mapping, Regex, re.Pattern)


def _plain(name: Any) -> Any:
    """A name as plain text: of an enum's member, `str()` and f-strings may give another one."""
    return str.__str__(name) if isinstance(name, str) else name


def _is_collection(name: str) -> bool:
    return bool(name) and not re.search(r"[$\0]|\.\.|^\.|\.$|^system\.", name)


def _is_field(name: str) -> bool:
    return all(part and not part.startswith("$") and "\0" not in part for part in name.split("."))
