"""What a client and an operator did, in order: the judge's knowledge of what should be there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

Survivors = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Appended:
    """A transaction with one message. `acknowledged`: its commit was confirmed; otherwise it may or may not be."""

    message: str
    key: str
    acknowledged: bool = True
    contents: str = ""
    """Its fields in a short form, where workers are judged."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A transaction that was aborted, or that a failover took away: nobody may ever see its message."""

    message: str


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A document written around the library that cannot be sent as it is."""

    message: str


@dataclass(frozen=True, slots=True)
class Settled:
    """A worker has dealt with what a key names, and so with all messages of it by now: if Redis loses their entries
    later, they are not wanted again."""

    key: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """An operator has put a published message back once: it is to enter the stream once more.

    Not between a loss and its discovery: then a replay may be answered by the very entry that recovery wants.
    """

    message: str
    completed: bool = False
    """A worker had completed it: it is to be handled once more."""


@dataclass(frozen=True, slots=True)
class Retried:
    """An operator has put a dead message back: it enters the stream now, out of the order of its key."""

    message: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Redis lost data. What was in the streams right before and right after that, as (message, attempt).

    `before` None: unknown, because messages were being published at that moment.
    """

    survived: tuple[tuple[str, int], ...] = ()
    before: tuple[tuple[str, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class Hopeless:
    """A message whose handler gives up on it, or ends its process, each time."""

    message: str


@dataclass(frozen=True, slots=True)
class Spoilt:
    """Others have put a text that is none into its document. It is handled as before; but if it has to be published
    again, it may be dead instead, with the reason."""

    message: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """Others have deleted its document. What becomes of it is their affair, as long as nothing of it stays behind."""

    message: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """Somebody has added an entry to a stream of ours, whose field `foreign` has this value; a worker of ours makes one
    message of it, unless Redis loses it first."""

    entry: str
    contents: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """MongoDB may not say any more what a document was in the past: it was started again, stood still, or its clock was
    set ahead. So what was settled, and is wanted again by a newer message, may come again if Redis loses it."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Somebody has read a message's entry without acknowledging it, while others acknowledged theirs: no relay can see
    that, as docs/streams.md says, and it may count as done."""

    message: str


Event = (
    Appended
    | RolledBack
    | Poisoned
    | Settled
    | Replayed
    | Retried
    | Lost
    | Hopeless
    | Spoilt
    | Deleted
    | Adopted
    | Forgotten
    | Skipped
)


@dataclass(slots=True)
class History:
    """Events in the order in which they happened. Appends to one key stand in the order of their commits."""

    events: list[Event] = field(default_factory=list)

    def add(self, *events: Event) -> None:
        self.events += events

    def appended(self) -> Iterable[Appended]:
        return (event for event in self.events if isinstance(event, Appended))

    def acknowledged(self) -> set[str]:
        return {event.message for event in self.appended() if event.acknowledged}

    def settled(self) -> set[str]:
        return {event.key for event in self.events if isinstance(event, Settled)}

    def queued_again(self) -> set[str]:
        """Keys that were settled, and appended to after that."""
        settled, again = set[str](), set[str]()
        for event in self.events:
            if isinstance(event, Settled):
                settled.add(event.key)
            elif isinstance(event, Appended) and event.key in settled:
                again.add(event.key)
        return again


def published_in(entries: list[tuple[str, dict[str, str]]]) -> Survivors:
    """As the history names entries: message and attempt. Somebody else's are left out."""
    return tuple((fields["message_id"], int(fields["attempt"])) for _, fields in entries if "message_id" in fields)
