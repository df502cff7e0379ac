"""Replay: messages that were published or completed become pending again, under the same ids, by an operator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from outbox.clock import server_time
from outbox.errors import UsageError
from outbox.message import State
from outbox.schema import OUTBOX, Database, Document

REPLAYABLE = (State.PUBLISHED, State.COMPLETED)
PAGE = 500
MAX_IDS = 10_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages to replay: those that match all that is given. An empty one is refused.

    `since` (included) and `until` (not included) are about when a message was appended.
    """

    since: datetime | None = None
    until: datetime | None = None
    stream: str | None = None
    key: str | None = None
    states: tuple[State, ...] = REPLAYABLE
    ids: tuple[ObjectId, ...] = ()

    def __post_init__(self) -> None:
        for name, time in (("since", self.since), ("until", self.until)):
            if time is not None and time.tzinfo is None:
                raise UsageError(f"{name} has no time zone: pass an aware datetime, such as datetime.now(UTC)")
        if self.since and self.until and self.since >= self.until:
            raise UsageError(f"since ({self.since}) must be earlier than until ({self.until})")
        if not self.states or (wrong := [state for state in self.states if state not in REPLAYABLE]):
            states = ", ".join(wrong) if self.states else "none"
            raise UsageError(f"states: {states}; only published and completed messages can be replayed")
        if len(self.ids) > MAX_IDS:
            raise UsageError(f"{len(self.ids)} ids are more than {MAX_IDS}: select by time or stream instead")
        narrowed = self.since or self.until or self.stream or self.key or self.ids
        if not narrowed and set(self.states) == set(REPLAYABLE):
            raise UsageError("nothing is selected: give at least one of since, until, stream, key, state, ids")

    def query(self, before: datetime) -> Document:
        """The selected messages, of those that were published not later than `before`."""
        created = {"$gte": self.since} if self.since else {}
        created |= {"$lt": self.until} if self.until else {}
        query: Document = {"state": {"$in": [state.value for state in self.states]}}
        # "not later" also holds for a message without the time, such as one that was found in the stream by recovery.
        query["published_at"] = {"$not": {"$gt": before}}
        if created:
            query["created_at"] = created
        if self.stream:
            query["stream"] = self.stream
        if self.key:
            query["key"] = self.key
        if self.ids:
            query["_id"] = {"$in": list(self.ids)}
        return query


@dataclass(frozen=True, slots=True)
class Replayed:
    """`selected`: how many matched; `replayed`: how many of them are pending now.

    The difference was meanwhile pruned, or replayed by somebody else.
    """

    selected: int
    replayed: int

    def as_json(self) -> Document:
        return {"selected": self.selected, "replayed": self.replayed}


async def count(database: Database, selection: Selection, *, before: datetime | None = None) -> int:
    """How many messages a replay would select. `before` as in `replay`."""
    return await database[OUTBOX].count_documents(selection.query(before or await server_time(database)))


async def replay(
    database: Database,
    selection: Selection,
    *,
    before: datetime | None = None,
    progress: Callable[[Replayed], None] = lambda _: None,
) -> Replayed:
    """Make the selected messages pending again; `progress` is called after each page.

    Each selected message enters its stream once more, in the order of its position, with `attempt` one higher. Within
    one call no message is replayed twice, however soon it is published again. A second call with the same selection
    replays again what has been published since; what is still pending is not selected. When a call is interrupted,
    the pages done are done, and the same call again does the rest, and once more those that were published meanwhile.

    :param before: only what was published until then, by the server's clock; by default until now. Give the moment at
        which messages were counted, to replay just those.
    """
    before = before or await server_time(database)
    query = selection.query(before)
    done = Replayed(0, 0)
    async for ids in _pages(database, query, few=bool(selection.key or selection.ids)):
        result = await database[OUTBOX].update_many(
            # The whole query again: a message may have left the selection since its page was read.
            {"$and": [{"_id": {"$in": ids}}, query]},
            {
                # attempts, batch and tag stay: from them a relay knows a batch that it published and did not mark.
                "$set": {"state": State.PENDING.value},
                "$unset": {"completed_at": ""},
                "$inc": {"replayed": 1},
                "$currentDate": {"replayed_at": True},
            },
        )
        done = Replayed(done.selected + len(ids), done.replayed + result.modified_count)
        progress(done)
    return done


async def _pages(database: Database, query: Document, *, few: bool) -> AsyncIterator[list[ObjectId]]:
    """Ids that match, page by page, in flat memory. Unless they are `few`, the whole outbox is walked once.

    Each page begins after the last id of the one before. For a queue that would lose messages, since transactions do
    not commit in the order of ids; here it cannot, because what is asked for had been committed and published before
    the first page was read. It is also what keeps a message that is published again from being met twice.
    """
    last: ObjectId | None = None
    while True:
        after = {"$and": [query, {"_id": {"$gt": last}}]} if last else query
        found = database[OUTBOX].find(after, {"_id": 1}).sort("_id").limit(PAGE)
        # Left to itself, the planner may take an index of the state, and sort millions of messages for every page.
        page = await (found if few else found.hint("_id_")).to_list()
        if not page:
            return
        ids = [document["_id"] for document in page]
        yield ids
        last = ids[-1]
