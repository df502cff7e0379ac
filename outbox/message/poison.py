"""Burial: a message that cannot be sent becomes dead with its reason, whatever it looks like."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from outbox.database import Document
from outbox.errors import InvalidMessage
from outbox.message import transitions
from outbox.message.document import State

MAX_REASON = 2000
RAW: CodecOptions[RawBSONDocument] = CodecOptions(
    RawBSONDocument, unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
"""Documents in the bytes of MongoDB. As lenient as LENIENT: to look at one value of them is to decode them all."""

TOO_LARGE = frozenset({10334, 17419, 17420})
"""BSONObjectTooLarge, and what an update says that would make a document so."""

ROOM = 1024
"""Bytes that each change of a message's state fits in, except for the reason of one that becomes dead."""
FULL: Document = {"$gt": [{"$bsonSize": "$$ROOT"}, 16 * 1024 * 1024 - ROOM]}
"""An expression: others made the document so large that it may have no room for a change. One such among many, and
MongoDB refuses the rest of an update of them all."""
TOO_FULL = "it is so large that nothing can be added to it"


@dataclass(frozen=True, slots=True)
class Poison:
    """A message that cannot be sent, and why.

    `identity` is `{"_id": …}` in the bytes of MongoDB: an id that Python cannot decode could not be asked for again.
    """

    identity: RawBSONDocument
    reason: str


async def bury(messages: AsyncCollection[Document], poison: Sequence[Poison], state: State = State.PENDING) -> int:
    """Make messages dead, each with its reason; returns how many were still in `state`."""
    buried = 0
    for message in poison:
        reason = message.reason[:MAX_REASON]
        try:
            # What is poison seldom fits the validator, and must leave the queue all the same.
            result = await messages.update_one(
                *transitions.bury(message.identity, state, reason), bypass_document_validation=True
            )
        except OperationFailure as error:
            if error.code not in TOO_LARGE:
                raise
            reason += "; and so large that there was no room for this: what it held is gone"
            result = await messages.update_one(
                *transitions.bury_emptied(message.identity, state, reason), bypass_document_validation=True
            )
        buried += result.modified_count
    return buried


async def bury_all(messages: AsyncCollection[Document], query: Document, state: State, reason: str) -> int:
    """The same for all in `state` that match `query`; one that is too large hides some from the count."""
    bury_them = transitions.bury(query, state, reason)
    try:
        result = await messages.update_many(*bury_them, bypass_document_validation=True, hint=state.value)
    except OperationFailure as error:
        if error.code not in TOO_LARGE:
            raise
        raw = cast(AsyncCollection[RawBSONDocument], messages).with_options(codec_options=RAW)
        found = raw.find(bury_them.guard, {"_id": 1}).hint(state.value)
        return sum([await bury(messages, [Poison(identity, reason)], state) async for identity in found])
    return result.modified_count


async def bury_full(
    messages: AsyncCollection[Document], query: Document, state: State, session: AsyncClientSession | None = None
) -> bool:
    """Make one message in `state` that matches `query` and is FULL dead; False: there is none.

    It is emptied, so that it has room for whatever an operator or a relay does with it later.
    """
    reason = f"{TOO_FULL}: what it held is gone"
    full = transitions.bury_emptied({**query, "$expr": FULL}, state, reason)
    result = await messages.update_one(*full, session=session, bypass_document_validation=True)
    return result.modified_count > 0


async def update_published(messages: AsyncCollection[Document], change: transitions.Transition, **options: Any) -> int:
    """Make a transition of published messages, except for those that are FULL: these become dead.

    Returns how many were changed, without those that were before one was met.
    """
    while True:
        try:
            return (await messages.update_many(*change, **options)).modified_count
        except OperationFailure as error:
            if error.code not in TOO_LARGE or not await bury_full(messages, change.guard, State.PUBLISHED):
                raise


@contextmanager
def naming(message: object) -> Iterator[None]:
    """Around a change of this message alone: raises InvalidMessage if it has no room for that."""
    try:
        yield
    except OperationFailure as error:
        if error.code not in TOO_LARGE:
            raise
        raise InvalidMessage(f"message {message} cannot be changed: {TOO_FULL}") from error


def identity(raw: bytes) -> RawBSONDocument:
    """`{"_id": …}` of a document as MongoDB returns it, which is with the id at its front."""
    if raw[5:9] != b"_id\0":
        raise ValueError("a document without an _id at its front")
    element = raw[4 : 9 + _length(raw[4], raw, 9)]
    return RawBSONDocument(struct.pack("<i", len(element) + 5) + element + b"\0")


def _length(kind: int, raw: bytes, start: int) -> int:
    """Of the BSON value that begins at `start`; an id can be neither an array nor a pattern."""
    if kind in _FIXED:
        return _FIXED[kind]
    counted = int(struct.unpack_from("<i", raw, start)[0])
    return counted + _BESIDE[kind]


_FIXED = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0}
_BESIDE = {0x02: 4, 0x03: 0, 0x05: 5, 0x0C: 16, 0x0D: 4, 0x0E: 4, 0x0F: 0}
"""What a value has besides the bytes that it counts itself: its count, a subtype, an ObjectId."""
