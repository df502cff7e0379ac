"""Trim: entries that every group has acknowledged leave Redis. Nothing else ever does.

An entry is needed until each group has been given it, and holds it no longer. Of a stream with a subject, what is done
is what the subject says, and stays so: a worker that acknowledges before it is done, and dies, leaves the subject
wanted, and its message is rescued. Of a stream without one nothing but the acknowledgement tells, so its messages are
judged by the evidence of that before their entries are trimmed (outbox.delivery.evidence): they become completed, so
that a loss of data later on does not bring them back, and are pruned in their time; or they are published again.

Redis 8.2 can trim by acknowledgement itself (XTRIM … ACKED), also behind an entry that is not. It is not used: it knows
no group to be ignored, and walks over all that is not acknowledged, each time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from outbox.database import Database
from outbox.delivery.evidence import Judged, judge
from outbox.errors import Owner
from outbox.printable import printable, shell_word
from outbox.protocol.ownership import own, refuse
from outbox.protocol.script import Script
from outbox.servers.silence import WatchedSilence
from outbox.servers.topology import AnyRedis
from outbox.streams.declaration import Stream
from outbox.streams.keys import record_key

ABANDONED_SECONDS = 3600.0
"""A group that holds up trimming in silence for so long is told of."""

AT_ONCE = 10_000
"""Entries that one call removes, about: some milliseconds in which Redis does nothing else."""

_TRIM = Script("trim")


@dataclass(frozen=True, slots=True)
class Straggler:
    """A group that is behind the stream's own one, so that entries stay for it.

    `silent_seconds`: for how long it has had something to do, and none of its consumers has asked for anything, by the
    clock of Redis, or as a relay has counted it. `to_be_ignored`: a relay that counts long enough will ignore it.
    """

    stream: str
    group: str
    silent_seconds: float
    ignored: bool
    key: str = ""
    """Of the stream in Redis."""
    to_be_ignored: bool = False

    @property
    def abandoned(self) -> bool:
        return self.ignored or self.silent_seconds >= ABANDONED_SECONDS

    def __str__(self) -> str:
        which = f"group '{printable(self.group)}' of stream {self.stream!r} does nothing"
        if self.ignored:
            return (
                f"{which}, and is ignored (ignore_groups_after_seconds) by relays that have seen it so for as long: "
                "entries that it has not read are trimmed"
            )
        if self.to_be_ignored:
            return (
                f"{which}, so that no entry can be trimmed until a relay has seen it do nothing for as long as "
                "ignore_groups_after_seconds. Start its consumers, so that they miss nothing"
            )
        return (
            f"{which}, so that no entry can be trimmed and Redis fills up. Start its consumers; or, if nobody needs "
            f"it, redis-cli XGROUP DESTROY {self.key or self.stream} {shell_word(self.group)}; or declare "
            "ignore_groups_after_seconds"
        )


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What one pass over a stream removed, and what it found out about the messages of one without a subject."""

    removed: int = 0
    judged: Judged = field(default_factory=Judged)
    stragglers: tuple[Straggler, ...] = ()

    @property
    def completed(self) -> int:
        return self.judged.completed


async def stragglers(redis: AnyRedis, stream: Stream) -> tuple[Straggler, ...]:
    """The groups that hold up the trimming of `stream`. Changes nothing.

    Whether one is ignored only the relays know, which count for themselves: told is what they do if Redis was there for
    as long as its clock says.
    """
    behind = (await _run(redis, stream, up_to="", at_most=0))[3]
    limit = stream.ignore_groups_after_seconds
    return tuple(replace(one, ignored=limit is not None and one.silent_seconds >= limit) for one in behind)


async def trim(
    database: Database, redis: AnyRedis, stream: Stream, silence: WatchedSilence[str, str] | None = None
) -> Trimmed:
    """Remove the entries of `stream` that every group has acknowledged. Any number of relays may do so at once.

    An entry that was given to nobody, or is in somebody's hands, stays, in whichever group; and while the stream's own
    group is not there, all of them. Only groups that are ignored lose what they have not read.

    :param silence: what the passes before have counted of the groups of this stream; without it, none is ignored.
    :raises ForeignStream: it belongs to another outbox.
    """
    ours = await own(database)
    bound, _, others, behind = await _run(redis, stream, up_to="", at_most=0, ours=ours, silence=silence)
    if not bound:
        return Trimmed()
    judged = Judged()
    if stream.subject is None:
        # First, so that nothing is trimmed that a recovery would take for lost.
        judged = await judge(database, redis, stream, before=others)
        bound = judged.bound
    removed = 0
    while stream.trim and bound:
        more = (await _run(redis, stream, up_to=bound, at_most=AT_ONCE, ours=ours, silence=silence))[1]
        if not more:
            break
        removed += more
    return Trimmed(removed, judged, behind if stream.trim else ())


async def _run(
    redis: AnyRedis,
    stream: Stream,
    *,
    up_to: str,
    at_most: int,
    ours: Owner | None = None,
    silence: WatchedSilence[str, str] | None = None,
) -> tuple[str, int, str, tuple[Straggler, ...]]:
    limit = stream.ignore_groups_after_seconds
    # With the sign of each: one that has done something since is not ignored.
    ignore = silence.same_for(limit) if silence and limit is not None else {}
    args: list[str | int] = [stream.group, up_to, at_most, ours.claim if ours else ""]
    args += (text for pair in ignore.items() for text in pair)
    try:
        answer = await _TRIM.run(redis, [stream.key, record_key(stream.key)], args)
    except BaseException:
        if silence:
            silence.miss()  # where we were not served, neither were their consumers
        raise
    if ours:
        refuse(stream.key, ours, answer)
    bound, removed, others, told = answer
    found = list(zip(told[::4], told[1::4], told[2::4], told[3::4], strict=True))
    counted = silence.listen({group: sign for group, sign, _, _ in found if sign}) if silence else {}
    behind = tuple(
        Straggler(
            stream.name, group, max(milliseconds / 1000, counted.get(group, 0.0)), bool(ignored), stream.key,
            to_be_ignored=limit is not None and not ignored,
        )
        for group, _, milliseconds, ignored in found
    )  # fmt: skip
    return bound, removed, others, behind
