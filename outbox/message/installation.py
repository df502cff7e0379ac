"""Whose is it? What is there under our names, what of it is ours, and what is missing.

The meta document names the collections that are ours. Another one that holds documents, or has indexes or a validator,
is somebody else's, and refused before anything is changed. The version of the schema that had no meta document is known
by its validator and its indexes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pymongo import IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from outbox.database import META, OUTBOX, PREFIX, Database, Document, is_core
from outbox.errors import NotOurs
from outbox.message import meta
from outbox.message.collection import Collection, Part, digest, same, same_keys
from outbox.message.meta import Known, Step

_NAMESPACE_EXISTS = 48
_INDEX_RACES = (27, 276)
"""IndexNotFound and IndexBuildAborted: another process replaced it first, or while it was being built."""


@dataclass(frozen=True, slots=True)
class Found:
    """A collection of ours, and what is there under its name. `options` are None when nothing is.

    :param claim: what the meta document calls it: by our name, so that the outbox's database can be renamed.
    :param empty: whether it is known to hold no document. Asked only of one that the outbox has not claimed.
    """

    collection: Collection
    place: AsyncCollection[Document]
    claim: str
    otherwise: str
    options: Document | None = None
    indexes: dict[str, Any] = field(default_factory=dict)
    empty: bool = False

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def validator(self) -> Document:
        return dict((self.options or {}).get("validator") or {})

    @property
    def collation(self) -> object:
        """Its own, with which its indexes are made."""
        return (self.options or {}).get("collation")

    @property
    def bare(self) -> bool:
        """Nobody would miss it."""
        return self.empty and not self.options and set(self.indexes) <= {"_id_"}

    def what_differs(self) -> list[str]:
        """What is there under our names, is not as ours, and was not made by an earlier version either."""
        found = []
        wanted = self.collection
        valid = self.validator in ({}, wanted.validator) or digest(self.validator) in wanted.earlier_validators
        if wanted.validator and not valid:
            found.append(f"the validator of {self.name} differs")
        for index in wanted.indexes:
            there = self.indexes.get(index.document["name"])
            if there is not None and not self._made(index, there):
                found.append(f"index {self.name}.{index.document['name']} {_otherwise(there)}")
        return found

    def _made(self, index: IndexModel, there: Document) -> bool:
        name = index.document["name"]
        earlier = [each for each in self.collection.earlier if each.document["name"] == name]
        return any(same(each, there, self.collation) for each in (index, *earlier))

    def like_ours(self) -> bool:
        """Whether version 1 of the schema made it."""
        ours = {index.document["name"] for index in self.collection.indexes} & set(self.indexes)
        valid = bool(self.validator) == bool(self.collection.validator)
        return self.collection.since == 1 and bool(ours) and valid and not self.what_differs()


async def look(database: Database, parts: Sequence[Part]) -> tuple[list[Found], Known]:
    """What is there, and what the meta document knows. Only reads."""
    there: dict[str, dict[str, Document]] = {}
    found = []
    for part in parts:
        for collection in part.collections:
            place = database[collection.name]
            where = place.database
            if where.name not in there:
                there[where.name] = {each["name"]: dict(each) async for each in await where.list_collections()}
            claim = collection.name if where.name == database.name else f"{where.name}/{collection.name}"
            missing = Found(collection, place, claim, part.otherwise)
            found.append(await _found(missing, there[where.name].get(place.name)))
    # After the collections: who made one that was found has claimed it before.
    known = await meta.known(database)
    if any(each.options is not None and each.claim not in known.collections for each in found):
        found = [each if each.claim in known.collections else await _whether_empty(each) for each in found]
        known = await meta.known(database)  # who filled one meanwhile had claimed it by then
    return found, known


async def _found(missing: Found, listed: Document | None) -> Found:
    if listed is None:
        return missing
    options = dict(listed.get("options", {}))
    if listed.get("type", "collection") != "collection":
        return replace(missing, options={"type": listed["type"], **options})
    return replace(missing, options=options, indexes=dict(await _now(missing).index_information()))


async def _whether_empty(found: Found) -> Found:
    if found.options is None or "type" in found.options:
        return found
    return replace(found, empty=await _now(found).find_one({}, {"_id": 1}) is None)


def _now(found: Found) -> AsyncCollection[Document]:
    return found.place.with_options(read_concern=ReadConcern("local"))


def faults(there: Sequence[Found], known: Known) -> list[str]:
    """Why a program cannot work with what is there; empty when it can."""
    if known.identity is None:
        missing = [f"collection {found.name} is missing" for found in there if found.options is None]
        return [*missing, "the outbox has no identity"]
    what = []
    for found in there:
        if found.options is None:
            what.append(f"collection {found.name} is missing")
            continue
        if found.claim not in known.collections:
            what.append(f"collection {found.name} is not the outbox's")
            continue
        if known.schema > meta.VERSION:
            continue  # the next version keeps what this one needs, and may have replaced the rest
        if found.collection.validator and found.validator != found.collection.validator:
            what.append(f"the validator of {found.name} differs")
        for index in found.collection.indexes:
            name = index.document["name"]
            if name not in found.indexes:
                what.append(f"index {found.name}.{name} is missing")
            elif not same(index, found.indexes[name], found.collation):
                what.append(f"index {found.name}.{name} {_otherwise(found.indexes[name])}")
    return what


async def has(database: Database, core: Part, part: Part) -> bool:
    """Whether the collections of `part` are the outbox's, or look as version 1 of the schema made them."""
    there, known = await look(database, (core, part))
    of_part = there[len(core.collections) :]
    if known.identity:
        return all(found.claim in known.collections for found in of_part)
    return _is_version_1(database, there) and all(found.like_ours() for found in of_part)


async def plan(database: Database, parts: Sequence[Part], *, adopt: set[str]) -> list[Step]:
    """What is to be done for `parts`; see `schema.ensure`. Only reads."""
    there, known = await look(database, parts)
    meta.refuse_far(database, known.schema)
    _refuse_what_is_not_ours(database, there, known, adopt)
    if known.schema > meta.VERSION:
        return []  # the next version has made what there is to make, and knows better what is right
    _refuse_what_differs(database, there)
    steps = meta.steps(database, known, [found.claim for found in there])
    for found in there:
        steps += _missing(found, adopted=found.claim not in known.collections)
    return steps


async def carry_out(steps: Sequence[Step]) -> bool:
    """Do it all. False: another process was at it too, and what is to be done has to be looked for again."""
    try:
        for _, do in steps:
            await do()
    except OperationFailure as error:
        if error.code not in _INDEX_RACES:
            raise
        return False
    return True


def _refuse_what_is_not_ours(database: Database, there: Sequence[Found], known: Known, adopt: set[str]) -> None:
    """Raise NotOurs, which names all that is somebody else's."""
    first = known.identity is None and _is_version_1(database, there)
    foreign, remedies = [], []
    for found in there:
        if found.options is None or found.bare:
            continue
        adopted = found.collection.name in adopt and not is_core(found.collection.name)
        if adopted or found.claim in known.collections or (first and found.like_ours()):
            continue
        foreign.append(f"{found.place.database.name}.{found.name}, which {_why(found)}")
        remedies.append(found.otherwise)
    if foreign:
        raise NotOurs(
            f"somebody else's collection has a name that is needed: {'; '.join(foreign)}. "
            f"Nothing was changed: {'; '.join(dict.fromkeys(remedies))}"
        )


def _refuse_what_differs(database: Database, there: Sequence[Found]) -> None:
    """Raise NotOurs, which names what somebody has changed in collections of ours."""
    if differs := [line for found in there for line in (*found.what_differs(), *_taken_keys(found))]:
        raise NotOurs(
            f"in database {database.name!r} somebody has changed what outbox init made: {'; '.join(differs)}. Nothing "
            "was changed. Remove it, then run outbox init again: db.COLLECTION.dropIndex('INDEX'), or for a validator "
            "db.runCommand({collMod: 'COLLECTION', validator: {}}); db.COLLECTION.unhideIndex('INDEX') if it is hidden"
        )


def _otherwise(there: Document) -> str:
    return "is hidden, so that MongoDB does not use it" if there.get("hidden") else "differs"


def _is_version_1(database: Database, there: Sequence[Found]) -> bool:
    """It knew one prefix and one database."""
    alone = database.place.prefix == PREFIX and database.application.name == database.name
    return alone and any(found.collection.name == OUTBOX and found.like_ours() for found in there)


def _why(found: Found) -> str:
    reasons = []
    if kind := (found.options or {}).get("type"):
        return f"is a {kind}"
    if not found.empty:
        reasons.append("holds documents")
    if others := sorted(set(found.indexes) - {"_id_"}):
        reasons.append(f"has the index {', '.join(others)}")
    if found.validator:
        reasons.append("has a validator")
    return " and ".join(reasons) or f"has the options {', '.join(found.options or {})}"


def _taken_keys(found: Found) -> list[str]:
    """Indexes of ours that MongoDB would refuse, because another one has their keys."""
    taken = []
    for index in found.collection.indexes:
        name = index.document["name"]
        condition = index.document.get("partialFilterExpression")
        others = [
            other
            for other, there in found.indexes.items()
            if other != name and same_keys(index, there) and there.get("partialFilterExpression") == condition
        ]
        if name not in found.indexes:
            taken += [f"index {found.name}.{other} has the keys of {name}, which is missing" for other in others]
    return taken


def _missing(found: Found, *, adopted: bool) -> list[Step]:
    """What is to be done for one collection that is ours, or nobody's."""
    wanted, steps = found.collection, list[Step]()
    if wanted.name == META:
        return []  # it comes with the meta document
    if found.options is None:
        steps.append((f"created collection {found.name}", partial(_create, found.place)))
    elif adopted and not found.bare:
        steps.append((f"took over collection {found.name}", _nothing))
    if wanted.validator and found.validator != wanted.validator:
        # "moderate": a message written around the library can still be made dead.
        change = partial(
            found.place.database.command,
            "collMod", found.name, validator=wanted.validator, validationLevel="moderate",
        )  # fmt: skip
        steps.append((f"set the validator of {found.name}", change))
    for index in wanted.indexes:
        name = index.document["name"]
        there = found.indexes.get(name)
        if there is not None and same(index, there, found.collation):
            continue
        if there is not None:  # an earlier version's: others were refused
            steps.append(("", partial(found.place.drop_index, name)))
        steps.append((f"built index {found.name}.{name}", partial(found.place.create_indexes, [index])))
    return steps


async def _create(place: AsyncCollection[Document]) -> None:
    try:
        await place.database.create_collection(place.name, check_exists=False)
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:  # another process was faster
            raise


async def _nothing() -> None:
    """The claim is all that is needed."""
