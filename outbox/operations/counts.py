"""Counts: how many messages there are in each state, in bounded time however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pymongo
from pymongo.errors import PyMongoError

from outbox.database import OUTBOX, Database
from outbox.message.document import State

COUNTED = 1_000_000
"""How far messages are counted: beyond, the exact number tells nobody anything, and costs seconds."""

SURE = 10_000
"""So many are counted whatever it costs, which is some milliseconds; more as far as the time allows."""

SECONDS = 2.0
"""How long somebody who waits for it counts further than that."""

AT_LEAST, AT_MOST = "at_least", "at_most"


@dataclass(frozen=True, slots=True)
class Counts:
    """`bounds`: of which states the number is not exact: there are `at_least` or `at_most` so many."""

    messages: Mapping[State, int]
    bounds: Mapping[State, str] = field(default_factory=dict)


async def by_state(database: Database) -> Counts:
    """How many messages there are in each state.

    Completed ones are what is left of the total that MongoDB keeps: at most so many where another state was not counted
    to its end. After a crash of mongod that total, and so they, may be off until mongod has counted again.
    """
    counted: list[State] = [state for state in State if state is not State.COMPLETED]
    total = await database[OUTBOX].estimated_document_count()
    found = await asyncio.gather(*(in_state(database, state, SECONDS) for state in counted))
    messages: dict[State, int] = {state: number for state, (number, _) in zip(counted, found, strict=True)}
    messages[State.COMPLETED] = max(0, total - sum(messages.values()))
    bounds: dict[State, str] = {state: AT_LEAST for state, (_, whole) in zip(counted, found, strict=True) if not whole}
    if bounds:
        bounds[State.COMPLETED] = AT_MOST
    return Counts({state: messages[state] for state in State}, bounds)


async def in_state(database: Database, state: State, seconds: float) -> tuple[int, bool]:
    """How many messages are in `state`, and whether those are all: otherwise there are as many or more.

    Counted up to COUNTED, and beyond SURE for so many `seconds` at most. That they are over is no error.
    """
    sure = await _count(database, state, SURE)
    if sure < SURE:
        return sure, True
    try:
        with pymongo.timeout(seconds):
            number = await _count(database, state, COUNTED)
    except PyMongoError as error:
        if not error.timeout:
            raise
        return sure, False
    return number, number < COUNTED


async def _count(database: Database, state: State, limit: int) -> int:
    # The command, and not an aggregation: it reads the state's own index and no document.
    reply = await database.command("count", database[OUTBOX].name, query={"state": state.value}, limit=limit)
    return int(reply["n"])


def shown(number: int, bound: str | None = None) -> str:
    """A number for people: `1,000,000 or more`."""
    words = {AT_LEAST: " or more", AT_MOST: " or fewer"}
    return f"{number:,}{words.get(bound or '', '')}" if bound else str(number)
