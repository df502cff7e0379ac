"""The whole world of one partition as one immutable value: MongoDB, Redis, relays, and requests that were given up.

A position is a batch's number and tag. Tags stand for random ones: equal only if they were drawn once. To keep the
number of worlds finite, a tag that nobody in the world remembers any more may be drawn again.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import count
from typing import NamedTuple

Position = tuple[int, int]
"""The number and the tag of a batch."""

Entry = tuple[int, int]
"""A stream entry: which message, and its attempt, from 1."""

UNKNOWN: Position = (-1, 0)
"""In a lease: MongoDB does not know where the partition stands. It has never known, or a recovery is under way, which
has a tag of its own. Elsewhere: nothing."""

TAIL = -1
"""As the step of a scan: only what comes after the checkpoint's last batch."""

START: Position = (0, 0)
"""In a checkpoint: nothing was ever published."""


class State(StrEnum):
    """Of a message. `absent`: its transaction has not committed yet."""

    ABSENT = "absent"
    PENDING = "pending"
    PUBLISHED = "published"
    COMPLETED = "completed"


class Message(NamedTuple):
    """`at` is where a published message stands. `replays` and `excused` are what the promises are judged by."""

    state: State = State.ABSENT
    attempt: int = 1
    """The attempt that is to be published, or was published last."""
    at: Position = UNKNOWN
    settled: bool = False
    """The subject of the stream is settled, although nobody has told the outbox."""
    replays: int = 0
    excused: bool = False
    """A fault took this message's entry and left that of a later message with the same key."""
    fence: int = 0
    """Writes under a lower token do nothing to this message."""


class Lease(NamedTuple):
    """MongoDB's side of the partition. Owner and expiry are left out: a lease may expire at any time."""

    token: int
    position: Position
    intent: tuple[int, ...] = ()
    """The messages that the owner's latest write to messages is about, written down before that write is sent."""


class Batch(NamedTuple):
    """A batch, and the position before it."""

    before: Position
    position: Position
    entries: tuple[Entry, ...]


class Checkpoint(NamedTuple):
    """Redis's side of the partition: its token, its last batch, and the position before that batch."""

    token: int
    position: Position
    before: Position
    entries: tuple[Entry, ...]
    marker: int
    """The marker of the stream that it was written for."""
    window: tuple[Batch, ...] = ()
    """The batches before the last one that were not known to be marked when that was published."""

    @property
    def chain(self) -> tuple[Batch, ...]:
        """All batches that may not be marked."""
        return (*self.window, Batch(self.before, self.position, self.entries))


class Redis(NamedTuple):
    """`marker` lives in the stream's key and is deleted with it; each new stream gets another one. 0: none yet."""

    stream: tuple[Entry, ...] = ()
    marker: int = 0
    checkpoint: Checkpoint | None = None

    @property
    def gone(self) -> bool:
        """The stream is not the one that the checkpoint was written for."""
        return self.checkpoint is not None and self.checkpoint.marker != self.marker


class Do(StrEnum):
    """The requests of a relay, each one atomic statement or script. A relay may sleep or die between any two."""

    RAISE = "take a token of its own, and read the intent"
    FENCE = "fence"
    OPEN = "open"
    COMPARE = "compare"
    SCAN = "scan"
    MEAN_TO_KEEP = "record which messages are kept next"
    KEEP = "keep what the scan shows"
    LOOK = "look whether the checkpoint is still the one that was opened"
    MEAN_TO_TAKE = "find messages that are lost, and record that they are taken back next"
    TAKE = "take back"
    STAMP = "stamp"
    SETTLE = "settle"
    FETCH = "fetch"
    PUBLISH = "publish"
    ADVANCE = "advance"
    MARK = "mark"


class Request(NamedTuple):
    """`before` and `position`: what the relay believes to be there, and what shall be there next."""

    do: Do
    before: Position = UNKNOWN
    position: Position = UNKNOWN
    entries: tuple[Entry, ...] = ()
    marker: int = 0
    """The marker that was in the stream when the relay opened it."""
    recovery: Position = UNKNOWN
    """What the lease says while the relay's recovery is under way."""
    step: int = 0
    """In a recovery that keeps: the first entry of the page; in one that takes back: 1 if the stream was scanned. In a
    mark: the first message of the page. In `compare`: 1 if the stream is gone. In `raise`: go above it."""
    tail: tuple[int, ...] | None = None
    """Messages that the change stream has shown since the snapshot of the last fetch, in the order of their commits.
    None: there is no such stream, or it may have missed some, so that the next look is a fetch.
    """
    unmarked: tuple[Batch, ...] = ()
    """Batches that are published and not known to be marked."""
    group: int = 0
    """So many of them, the first ones, are being marked together."""
    then: Do | None = None
    """What goes on after this request: the marking, which a batch is published in the midst of; or a recovery."""


class Relay(NamedTuple):
    """One relay under one token, and the request that it is about to send; or one that it gave up, still on its way."""

    token: int
    request: Request


class Left(NamedTuple):
    """How much may still go wrong."""

    acquires: int
    troubles: int
    losses: int
    replays: int
    settles: int
    restores: int = 0


class World(NamedTuple):
    messages: tuple[Message, ...]
    lease: Lease
    redis: Redis
    saved: Redis | None
    """The one other state of Redis that can come back: an old copy, or the other half of a split brain."""
    relays: tuple[Relay, ...]
    flying: tuple[Relay, ...]
    left: Left
    backup: tuple[tuple[Message, ...], Lease] | None = None


def name(keys: tuple[int, ...], i: int) -> str:
    """What a message is called in stories: its key as a letter, and its number in that key."""
    return "ABCDEFGH"[keys[i]] + str(keys[: i + 1].count(keys[i]))


def fresh(world: World, number: int) -> Position:
    """A position of this number that is nowhere in the world."""
    seen = {message.at for message in world.messages}
    seen.add(world.lease.position)
    for redis in (world.redis, world.saved):
        if redis and redis.checkpoint:
            seen.add(redis.checkpoint.position)
            seen.add(redis.checkpoint.before)
            seen.update(place for batch in redis.checkpoint.window for place in (batch.before, batch.position))
    for _, request in world.relays + world.flying:
        seen.add(request.before)
        seen.add(request.position)
        seen.add(request.recovery)
        seen.update(place for batch in request.unmarked for place in (batch.before, batch.position))
    if world.backup:
        seen.update(message.at for message in world.backup[0])
        seen.add(world.backup[1].position)
    return next((number, tag) for tag in count(1) if (number, tag) not in seen)


def fresh_marker(world: World) -> int:
    """A marker that is nowhere in the world."""
    seen = {request.marker for _, request in world.relays + world.flying}
    for redis in (world.redis, world.saved):
        if redis:
            seen.add(redis.marker)
            if redis.checkpoint:
                seen.add(redis.checkpoint.marker)
    return next(marker for marker in count(1) if marker not in seen)


def compact(world: World) -> World:
    """The same world with its tokens numbered anew, without gaps: only their order matters.

    Not while the lease is behind a token that others have seen, as after a restore: it takes the next numbers then.
    """
    relays = world.relays + world.flying
    tokens = {0, world.lease.token, *(relay.token for relay in relays), *(m.fence for m in world.messages)}
    tokens.update(redis.checkpoint.token for redis in (world.redis, world.saved) if redis and redis.checkpoint)
    if world.backup:
        tokens.update((world.backup[1].token, *(m.fence for m in world.backup[0])))
    highest = max(tokens)
    if highest < len(tokens) or world.lease.token < highest or any(r.request.do is Do.RAISE for r in relays):
        return world
    number = {token: i for i, token in enumerate(sorted(tokens))}

    def lease(there: Lease) -> Lease:
        return there._replace(token=number[there.token])

    def messages(there: tuple[Message, ...]) -> tuple[Message, ...]:
        return tuple(m._replace(fence=number[m.fence]) if m.fence else m for m in there)

    def redis(there: Redis | None) -> Redis | None:
        if there is None or there.checkpoint is None:
            return there
        return there._replace(checkpoint=there.checkpoint._replace(token=number[there.checkpoint.token]))

    def renumbered(there: tuple[Relay, ...]) -> tuple[Relay, ...]:
        return tuple(relay._replace(token=number[relay.token]) for relay in there)

    live = redis(world.redis)
    assert live
    return world._replace(
        messages=messages(world.messages), lease=lease(world.lease), redis=live, saved=redis(world.saved),
        relays=renumbered(world.relays), flying=tuple(sorted(renumbered(world.flying), key=repr)),
        backup=world.backup and (messages(world.backup[0]), lease(world.backup[1])),
    )  # fmt: skip
