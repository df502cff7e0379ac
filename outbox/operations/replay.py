"""Replay: messages that were published or completed become pending again, under the same ids, by an operator.

The statements. As operators ask for it, a replay is a job (`outbox.operations.jobs`), which takes one page after the
other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pymongo
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import ExecutionTimeout, NetworkTimeout

from outbox.database import OUTBOX, Database, Document
from outbox.errors import SchemaError, SettingsError
from outbox.message import transitions
from outbox.message.document import State
from outbox.message.poison import FULL, naming
from outbox.message.transitions import REPLAYABLE
from outbox.operations import audit
from outbox.operations.selection import Selection as Selection  # whoever replays needs one
from outbox.servers import transaction
from outbox.servers.clock import server_time
from outbox.streams import registry

PAGE = 500
SCAN = 10_000
"""How many messages one page looks at, at most: its statements end in time, however rare what is selected may be."""

COUNTED = 1_000_000
COUNT_SECONDS = 3.0
"""Beyond either, a selection is not counted: somebody waits for the answer, and the replay does not need the number."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """`selected`: how many matched; `replayed`: how many of them are pending now.

    The difference was meanwhile pruned, or replayed by somebody else, or is so large that it cannot be changed.
    """

    selected: int
    replayed: int

    def as_json(self) -> Document:
        return {"selected": self.selected, "replayed": self.replayed}


@dataclass(frozen=True, slots=True)
class Page:
    """Messages to replay, up to which id the outbox has been looked through with them, and what they all match.

    `full`: others that match, and are left out because they have no room for a change.
    """

    ids: tuple[ObjectId, ...]
    last: ObjectId
    query: Document
    full: tuple[ObjectId, ...] = ()


async def count(database: Database, selection: Selection, *, before: datetime | None = None) -> int | None:
    """How many messages a replay would select. `before` as in `replay`.

    None: more than `COUNTED`, or MongoDB needs longer than `COUNT_SECONDS` to count them.
    """
    query = await _query(database, selection, before or await server_time(database))
    try:
        with pymongo.timeout(COUNT_SECONDS):  # which MongoDB is sent as well, so that it stops counting
            found = await database[OUTBOX].count_documents(query, limit=COUNTED + 1)
    except (ExecutionTimeout, NetworkTimeout):
        return None
    return found if found <= COUNTED else None


async def not_selected(database: Database, selection: Selection, *, before: datetime) -> dict[ObjectId, str | None]:
    """Those of the selection's ids that it does not select, each with its state; None: there is no such message."""
    query = await _query(database, selection, before)
    selected = {message["_id"] async for message in database[OUTBOX].find(query, {"_id": 1})}
    rest = [id_ for id_ in dict.fromkeys(selection.ids) if id_ not in selected]
    found = database[OUTBOX].find({"_id": {"$in": rest}}, {"state": 1})
    states = {message["_id"]: str(message.get("state")) async for message in found}
    return {id_: states.get(id_) for id_ in rest}


def in_words(count: int | None) -> str:
    """What `count` returned, for people: "3 messages"."""
    if count is None:
        return f"an unknown number of messages (more than {COUNTED:,}, or not counted within {COUNT_SECONDS:g} s)"
    return f"{count:,} {'message' if count == 1 else 'messages'}"


async def replay(
    database: Database,
    selection: Selection,
    *,
    before: datetime | None = None,
    progress: Callable[[Replayed], None] = lambda _: None,
) -> Replayed:
    """Make the selected messages pending again, all in this call; `progress` is called after each page.

    Each selected message enters its stream once more, in the order of its position, with `attempt` one higher. Within
    one call no message is replayed twice, however soon it is published again. A second call with the same selection
    replays again what has been published since; what is still pending is not selected. When a call is interrupted,
    the pages done are done, and the same call again does the rest, and once more those that were published meanwhile:
    a job is what goes on where it was.

    :param before: only what was published until then, by the server's clock; by default until now. Give the moment at
        which messages were counted, to replay just those.
    """
    before = before or await server_time(database)
    done = Replayed(0, 0)
    async for found in _pages(database, selection, before):
        replayed = await put_back(database, found)
        done = Replayed(done.selected + len(found.ids) + len(found.full), done.replayed + replayed)
        progress(done)
    return done


async def one(
    database: Database,
    message: ObjectId,
    *,
    who: str,
    states: tuple[State, ...] = REPLAYABLE,
    before: datetime | None = None,
    seconds: float = 20.0,
) -> bool:
    """Make one message pending again, and put on record who did, in one transaction.

    False: it is not in one of `states`, or its stream is not registered any more; nothing was changed or put on record.
    Raises InvalidMessage when it is so large that it cannot be changed. After CommitUnknown, look at the message.

    :param before: only if it was published by then, by the server's clock: what somebody else replayed meanwhile stays.
    """
    selection = Selection(ids=(message,), states=states)
    with pymongo.timeout(seconds):
        wanted = Page((message,), message, await _query(database, selection, before or await server_time(database)))
    replayed = 0

    async def body(session: AsyncClientSession) -> bool:
        nonlocal replayed
        found = await database[OUTBOX].find_one({"_id": message}, {"replayed": 1}, session=session)
        replayed = int((found or {}).get("replayed") or 0)
        with naming(message):
            if not await put_back(database, wanted, session=session):
                return False
        await audit.record(database, who=who, action="replay", details={"message": message}, session=session)
        return True

    async def happened() -> bool:
        # A write first: it waits for a transaction that is still under way on this message.
        found = await database[OUTBOX].find_one_and_update({"_id": message}, {"$currentDate": {"asked_at": True}})
        return found is not None and int(found.get("replayed") or 0) > replayed

    return await transaction.run(database.client, body, happened=happened, seconds=seconds)


async def _pages(database: Database, selection: Selection, before: datetime) -> AsyncIterator[Page]:
    last: ObjectId | None = None
    while found := await page(database, selection, before, after=last, limit=PAGE):
        if found.ids or found.full:
            yield found
        last = found.last


async def page(
    database: Database, selection: Selection, before: datetime, *, after: ObjectId | None, limit: int
) -> Page | None:
    """Up to `limit` ids that match, in flat memory and short statements; None: there are no more.

    A page begins after the last id of the one before. For a queue that would lose messages, since transactions do not
    commit in the order of ids; here it cannot, because what is asked for had been committed and published before the
    first page was read. It is also what keeps a message that is published again from being met twice.
    """
    query = await _query(database, selection, before)
    beyond: Document = {"_id": {"$gt": after}} if after else {}
    if selection.few:
        found = await _find(database, {"$and": [query, beyond]}, limit)
        return _page(found, query, found[-1]["_id"]) if found else None
    # Left to itself, the planner may take an index of the state, and sort millions of messages for every page.
    walk = {"$and": [selection.walked, beyond]}
    far = database[OUTBOX].find(walk, {"_id": 1}).sort("_id").skip(SCAN - 1).limit(1).hint("_id_")
    end = next((document["_id"] for document in await far.to_list()), None)
    until: Document = {"_id": {"$lte": end}} if end else {}
    found = await _find(database, {"$and": [query, beyond, until]}, limit, hint="_id_")
    if len(found) == limit or (found and end is None):
        return _page(found, query, found[-1]["_id"])
    return _page(found, query, end) if end else None


async def _query(database: Database, selection: Selection, before: datetime) -> Document:
    """Of registered streams only: no relay drains the others, so that what is done would become dead."""
    query = selection.query(before)
    try:
        registered = await registry.read(database)
    except (SchemaError, SettingsError):  # such as a stream that a later version has registered, whose relays drain it
        registered = None
    if registered is None:
        return query
    names = [selection.stream] if selection.stream else [*registered]
    return query | {"stream": {"$in": [name for name in names if name in registered]}}


async def _find(database: Database, query: Document, limit: int, hint: str | None = None) -> list[Document]:
    found = database[OUTBOX].find(query, {"_id": 1, "full": FULL}).sort("_id").limit(limit)
    return await (found.hint(hint) if hint else found).to_list()


def _page(found: Sequence[Document], query: Document, last: ObjectId) -> Page:
    ids, full = (tuple(message["_id"] for message in found if message["full"] is is_full) for is_full in (False, True))
    return Page(ids, last, query, full)


async def put_back(
    database: Database, found: Page, *, job: ObjectId | None = None, session: AsyncClientSession | None = None
) -> int:
    """Make the messages of a page pending again, as far as they are still selected; returns how many.

    Each may be tried as often as a new one. May be repeated: what is pending is not selected.
    """
    # The whole query again: a message may have left the selection since its page was read.
    again = transitions.replay(found.ids, found.query, job=job)
    result = await database[OUTBOX].update_many(*again, session=session)
    return result.modified_count
