"""What a collection of ours is like: its indexes and validator, and those that earlier versions made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import IndexModel

from outbox.database import Document

_OPTIONS = ("partialFilterExpression", "expireAfterSeconds", "unique", "sparse", "collation", "hidden")


@dataclass(frozen=True, slots=True)
class Collection:
    """One collection, by our name for it: that of the default prefix.

    :param since: the version of the schema that it came with: an earlier one cannot have made it.
    :param earlier: indexes that earlier versions made under the same names, and that may be replaced.
    :param earlier_validators: digests of validators that earlier versions set, and that may be replaced.
    """

    name: str
    indexes: tuple[IndexModel, ...] = ()
    validator: Document | None = None
    since: int = 1
    earlier: tuple[IndexModel, ...] = ()
    earlier_validators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Collections that are set up together, and what to do when somebody else has one of them."""

    name: str
    collections: tuple[Collection, ...]
    otherwise: str


def index(name: str, *keys: tuple[str, int], **options: Any) -> IndexModel:
    return IndexModel(list(keys), name=name, **options)


def digest(validator: Mapping[str, Any]) -> str:
    """A validator in a few characters, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(validator, sort_keys=True).encode()).hexdigest()[:16]


def same(wanted: IndexModel, there: Mapping[str, Any], collation: object = None) -> bool:
    """Whether an index, as MongoDB shows it, has the keys and options of ours.

    :param collation: the collection's own, which an index has that was made without one.
    """
    shown = {**there, "collation": None} if collation and there.get("collation") == collation else there
    return same_keys(wanted, there) and all(shown.get(option) == wanted.document.get(option) for option in _OPTIONS)


def same_keys(wanted: IndexModel, there: Mapping[str, Any]) -> bool:
    return [tuple(key) for key in there["key"]] == list(wanted.document["key"].items())
