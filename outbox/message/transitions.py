"""Transitions: every change of a message's state is a function here, and no other module writes `state`.

    stage                     scheduled ─► pending
    publish, publish_kept     pending ─► published              keep       published, under a later batch
    complete ...              published ─► completed            put_back   published ─► pending or scheduled
    bury, give_up             ─► dead                           recover    published ─► pending, what Redis lost
    retry                     dead ─► pending                   replay     published, completed ─► pending
    discard                   dead ─► deleted                   prune      published, completed ─► deleted

A new message is scheduled or pending, see document.new_document.

Each function returns the filter and the change of one update, which is a compare-and-set: a message that is no longer
where it was is not matched, and stays as it is. The caller decides how to send it: for one message or many, in which
session. A deletion is its filter alone.

Where one attempt is decided about, the guard is state and `attempts`: of several who decide, one does. A relay's writes
under a lease have the lease's token as a guard, too (fences).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from outbox.database import Document
from outbox.message.document import Sent, State, number

SUSPICION = ("suspect", "taken_from", "taker")
"""What is stored of a message that was in flight when its worker died, until it has had an outcome: that worker's name;
all those it was taken over from to be handled alone; and a mark of who does so now."""

REPLAYABLE = (State.PUBLISHED, State.COMPLETED)
PRUNABLE = [State.COMPLETED.value, State.PUBLISHED.value]
_UNSENT = [State.PENDING.value, State.SCHEDULED.value]


class Transition(NamedTuple):
    """One update: `messages.update_many(*transition)`."""

    guard: Document
    change: Document | list[Document]


class Place(NamedTuple):
    """Where messages stand in their stream: in which batch, among which entries, under which attempt."""

    batch: int
    tag: str
    entries: Mapping[str, object]
    attempts: int


class Cause(StrEnum):
    """Why an attempt came to nothing. The message counts each under this name, with the time of the last."""

    FAILED = "failed"
    """Its handler raised."""
    RESCUED = "rescued"
    """Its worker, or its entry, is gone."""
    TAKEN_OVER = "taken_over"
    """Its worker died while it was in flight, and another one took it over."""
    SNOOZED = "snoozed"
    """Its handler asked for it to come later, or its worker has no handler for it. It costs none of its attempts."""
    RETURNED = "returned"
    """Its worker stopped, and gave it back. That is nobody's failure, and costs the message none of its attempts."""


# -- guards


def passable(token: int) -> Document:
    """The condition for every write to messages under a lease: no higher token has fenced them."""
    return {"fence": {"$not": {"$gt": token}}}


def standing(sent: Sent) -> Document:
    """Matches the message while this attempt at it is the last one, and has no outcome."""
    return {"_id": sent.id, **_undecided(sent.attempt)}


def unmarked(ids: Sequence[Any], attempt: int) -> Document:
    """Matches messages that wait for the mark of just this attempt: not those that were completed or replayed since."""
    return {"_id": {"$in": ids}, "state": State.PENDING.value, "attempts": attempt - 1}


def not_kept(where: Document, at: Place) -> Document:
    """Matches what neither `keep` nor `publish_kept` has changed and should have."""
    elsewhere = {**_published_until(at.attempts), "$nor": [{"batch": at.batch, "tag": at.tag}]}
    return {**where, "$or": [elsewhere, _pending_before(at.attempts)]}


def _undecided(attempt: int) -> Document:
    unmarked = {"state": State.PENDING.value, "attempts": attempt - 1}  # a worker may be faster than the relay's mark
    return {"$or": [{"state": State.PUBLISHED.value, "attempts": attempt}, unmarked]}


def _published_until(attempt: int) -> Document:
    return {"state": State.PUBLISHED.value, "attempts": {"$lte": attempt}}


def _pending_before(attempt: int) -> Document:
    return {"state": State.PENDING.value, "attempts": {"$lt": attempt}}


def _lost(ids: Collection[Any], where: Document, token: int) -> Document:
    return {"_id": {"$in": list(ids)}, **where, "state": State.PUBLISHED.value, **passable(token)}


# -- the relay, under the lease of the partition


def publish(ids: Sequence[Any], at: Place, *, token: int) -> Transition:
    """Mark messages published."""
    return Transition({**unmarked(ids, at.attempts), **passable(token)}, _published(at))


def keep(where: Document, at: Place, *, token: int) -> Transition:
    """Published messages that were found in the stream after a loss belong to the batch that ends the recovery."""
    return Transition({**where, **passable(token), **_published_until(at.attempts)}, {"$set": at._asdict()})


def publish_kept(where: Document, at: Place, *, token: int) -> Transition:
    """The same for pending ones, which were published and never marked."""
    return Transition({**where, **passable(token), **_pending_before(at.attempts)}, _published(at))


def recover(ids: Collection[Any], where: Document, *, token: int) -> Transition:
    """What Redis lost and is still wanted goes out again, under the attempt that was lost."""
    change: Document = {
        "state": State.PENDING.value,
        "attempts": {"$max": [0, {"$subtract": [number("attempts"), 1]}]},
        "recovered": _one_more("recovered"),
        "recovered_at": "$$NOW",
    }
    return Transition(_lost(ids, where, token), [{"$set": change}])


def complete_lost(ids: Collection[Any], where: Document, *, token: int) -> Transition:
    """What Redis lost and is settled."""
    return Transition(_lost(ids, where, token), _COMPLETED)


# -- any relay


def stage() -> Transition:
    """What is due by the server's clock."""
    # Of all types: a text, too, is less than a date.
    due = {"$and": [{"$lte": ["$available_at", "$$NOW"]}, {"$eq": [{"$type": "$available_at"}, "date"]}]}
    return Transition({"state": State.SCHEDULED.value, "$expr": due}, {"$set": {"state": State.PENDING.value}})


def bury(where: Mapping[str, Any], state: State, reason: str) -> Transition:
    """What cannot be sent, of those in `state`."""
    change = {"$set": {"state": State.DEAD.value, "last_error": reason}, "$currentDate": {"died_at": True}}
    return Transition({"state": state.value, "$and": [where]}, change)


def bury_emptied(where: Mapping[str, Any], state: State, reason: str) -> Transition:
    """The same for one that is too large to be changed: all goes but what is small and says where it belonged."""
    kept = {
        name: {"$cond": [{"$lt": [{"$bsonSize": {"v": f"${name}"}}, 1024]}, f"${name}", "$$REMOVE"]}
        for name in ("stream", "partition", "key", "position")
    }
    fate: Document = {"state": State.DEAD.value, "last_error": {"$literal": reason}, "died_at": "$$NOW"}
    return Transition(bury(where, state, reason).guard, [{"$replaceWith": {"_id": "$_id", **kept, **fate}}])


def complete_settled(ids: Collection[Any], attempt: int) -> Transition:
    """Published messages whose subjects are settled; not those that were replayed and published again since."""
    return Transition({"_id": {"$in": list(ids)}, "state": State.PUBLISHED.value, "attempts": attempt}, _COMPLETED)


def prune(ids: Collection[Any], attempt: int | None) -> Document:
    """Past retention, and completed or settled; likewise. None: with no number there, none is ever published again."""
    return {"_id": {"$in": list(ids)}, "state": {"$in": PRUNABLE}, **({} if attempt is None else {"attempts": attempt})}


# -- a worker, or a relay for one that is gone


def complete(sent: Sent) -> Transition:
    """The last write of the handler's transaction. Nothing changed: the transaction must have no effect."""
    return Transition(standing(sent), _completed_at(sent.attempt))


def complete_batch(ids: Sequence[Any], attempt: int, *, stream: str | None = None) -> Transition:
    """The same for messages that stand in the stream under the same attempt. Fewer changed: as with nothing changed.
    Also for those of `stream`, which has no subject, whose entries of this attempt were acknowledged; marked or not."""
    where: Document = {} if stream is None else {"stream": stream}  # others may have copied entries into it
    return Transition({"_id": {"$in": ids}, **where, **_undecided(attempt)}, _completed_at(attempt))


def put_back(
    sent: Sent,
    cause: Cause,
    *,
    reason: str | None = None,
    wait_milliseconds: int | None = None,
    suspect: str | None = None,
    forgive: int = 0,
) -> Transition:
    """An attempt that came to nothing: pending at once, or scheduled. See attempts.again."""
    values: Document = {
        "state": (State.PENDING if wait_milliseconds is None else State.SCHEDULED).value,
        # As if marked: from here on, a relay that has not marked the batch yet leaves the message alone.
        "attempts": sent.attempt,
        **_counted(cause),
    }
    if wait_milliseconds is not None:
        values["available_at"] = {"$add": ["$$NOW", wait_milliseconds]}
    if reason is not None:
        values["last_error"] = {"$literal": reason}
    if forgive:
        values["forgiven"] = _one_more("forgiven", forgive)
    if suspect is not None:
        values["suspect"] = {"$literal": suspect}
    forgotten = {"entries", "taker"}
    if cause in (Cause.FAILED, Cause.SNOOZED):
        forgotten |= {*SUSPICION}  # its worker has lived through it
    if cause is Cause.RETURNED:
        forgotten.add("taken_from")
    return Transition(standing(sent), [{"$set": values}, {"$unset": sorted(forgotten)}])


def give_up(sent: Sent, cause: Cause, *, reason: str) -> Transition:
    """The last attempt that the message had, or one after which it shall have no other."""
    fate: Document = {"state": State.DEAD.value, "last_error": {"$literal": reason}, "died_at": "$$NOW"}
    values = {**fate, "attempts": sent.attempt, **_counted(cause)}
    return Transition(standing(sent), [{"$set": values}, {"$unset": "entries"}])


# -- an operator, or the application


def complete_superseded(about: Document, streams: Sequence[str]) -> Transition:
    """Published messages about settled subjects (`subjects.about`), before these are wanted again for a newer one."""
    where = {**about, "stream": {"$in": streams}, "state": State.PUBLISHED.value}
    return Transition(where, _COMPLETED)


def complete_unsent(ids: Sequence[Any]) -> Transition:
    """Messages about a subject that is gone, which are not sent any more."""
    return Transition({"_id": {"$in": ids}, "state": {"$in": _UNSENT}}, _COMPLETED)


def retry(message: Any, where: Document | None = None) -> Transition:
    """A dead message may be tried as often as a new one; its attempts count on."""
    change: Document = {
        "state": State.PENDING.value,
        # What has killed its worker is handled alone again, which counts as one try from the start.
        "forgiven": {"$add": [number("attempts"), {"$cond": [{"$gt": ["$suspect", None]}, 1, 0]}]},
        "retried": _one_more("retried"),
        "retried_at": "$$NOW",
    }
    forgotten = ["died_at", "taken_over", "taken_from", "taker", Cause.SNOOZED.value]
    return Transition(discard(message, where), [{"$set": change}, {"$unset": forgotten}])


def replay(ids: Collection[Any], selected: Document, *, job: Any = None) -> Transition:
    """Published and completed messages as far as they are still `selected`, by the whole query of a selection."""
    change: Document = {
        # attempts, batch and tag stay: from them a relay knows a batch that it published and did not mark.
        "state": State.PENDING.value,
        "forgiven": "$attempts",
        "replayed": _one_more("replayed"),
        "replayed_at": "$$NOW",
        **({"replayed_by": job} if job else {}),
    }
    forgotten = ["completed_at", "taken_over", Cause.SNOOZED.value, *SUSPICION]
    where = {"$and": [{"_id": {"$in": list(ids)}}, {"state": {"$in": list(REPLAYABLE)}}, selected]}
    return Transition(where, [{"$set": change}, {"$unset": forgotten}])


def discard(message: Any, where: Document | None = None) -> Document:
    """A dead message, if it is also as `where` says."""
    return {"_id": message, "state": State.DEAD.value, **(where or {})}


# -- changes that several transitions make


def _published(at: Place) -> Document:
    return {"$set": {"state": State.PUBLISHED.value, **at._asdict()}, "$currentDate": {"published_at": True}}


def _completed_at(attempt: int) -> Document:
    return {"$set": {"state": State.COMPLETED.value, "attempts": attempt}, "$currentDate": {"completed_at": True}}


_COMPLETED: Document = {"$set": {"state": State.COMPLETED.value}, "$currentDate": {"completed_at": True}}


def _counted(cause: Cause) -> Document:
    return {cause.value: _one_more(cause.value), f"{cause.value}_at": "$$NOW"}


def _one_more(name: str, more: int = 1) -> Document:
    return {"$add": [number(name), more]}
