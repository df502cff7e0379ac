"""Diagnosis: whether all is well, in a sentence, and if not what to do, the most pressing first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from outbox.delivery.depth import LOOK_AHEAD, Depth
from outbox.message.document import State
from outbox.operations.moments import show_seconds
from outbox.operations.samples import Sample
from outbox.operations.stats import Status
from outbox.servers.causes import Cause
from outbox.streams.declaration import Streams

LONG_SECONDS = 60.0
"""A message that waits longer although everything runs, or a worker that is silent for longer, is worth a look."""

STUCK_SECONDS = 300.0


NEARLY = 0.9
"""Of what a stream takes: a batch that would not fit as a whole waits."""


class Level(StrEnum):
    """`broken`: something stands still. `look`: somebody should look, nothing is urgent. `well`: nothing to do."""

    BROKEN = "broken"
    LOOK = "look"
    WELL = "well"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is seen, what to do about it, and where the dashboard has more. `name` is that of its section in the
    documents; nothing needs to be said where all is well.
    """

    name: str
    level: Level
    seen: str
    do: str
    link: str | None = None

    @property
    def docs(self) -> str | None:
        """The page and the section, as the dashboard names them."""
        return f"operations#{self.name}" if self.name else None


def diagnose(sample: Sample, streams: Streams) -> tuple[Finding, ...]:
    """What there is to say, at least one thing; the first is what matters most."""
    full = _full(sample, streams)
    findings = [
        *_servers(sample),
        *_relays(sample, streams, full=bool(full)),
        *full,
        *_stuck(sample),
        *_workers(sample, streams),
    ]
    findings += [*_paused(sample), *_dead(sample), *_advice(sample)]
    findings.sort(key=lambda finding: list(Level).index(finding.level))
    return tuple(findings) or (_well(sample),)


def without_mongodb(cause: Cause) -> tuple[Finding, ...]:
    """The diagnosis when nothing can be read."""
    return (
        Finding(
            "mongodb-unavailable",
            Level.BROKEN,
            f"{_in_words(cause)}. Uploads are refused meanwhile, and what is shown below is old.",
            f"{cause.do} Messages that were committed are safe.",
        ),
    )


def _in_words(cause: Cause) -> str:
    return f"{cause.what} ({cause.detail})" if cause.detail else cause.what


def _servers(sample: Sample) -> Iterator[Finding]:
    queue, waiting = sample.status.queue, _messages(sample.status)
    if queue.cause:
        yield Finding(
            "redis-unavailable",
            Level.BROKEN,
            f"{_in_words(queue.cause)}: {waiting} in MongoDB until that is over.",
            f"{queue.cause.do} Nothing is lost, and the relay goes on by itself.",
        )
    for obstacle in sample.status.obstacles:
        yield Finding(
            f"{obstacle.server}-unavailable",
            Level.BROKEN,
            f"{obstacle}: {waiting} in MongoDB until that is over.",
            f"{obstacle.do} Nothing is lost, and the relay goes on by itself.",
        )


def _relays(sample: Sample, streams: Streams, *, full: bool) -> Iterator[Finding]:
    status = sample.status
    pending, oldest = status.messages[State.PENDING], status.oldest_pending_seconds or 0.0
    if not status.relays:
        yield Finding(
            "no-relay", Level.BROKEN, f"No relay is running: {_messages(status)}, and nothing is published.",
            "Start one: outbox relay",
        )  # fmt: skip
        return
    free = [p for p in status.partitions if p["stream"] in streams and (p.get("expires_in_seconds") or 0) <= 0]
    if free and pending:
        names = ", ".join(f"{p['stream']}/{p['number']}" for p in free[:3])
        yield Finding(
            "partition-without-owner",
            Level.LOOK,
            f"{_count(len(free), 'partition')} without an owner ({names}): its messages stand still.",
            "Wait for the lease of a dead relay to run out; if it lasts, look into the relays' logs.",
            "#partitions",
        )
    if oldest > LONG_SECONDS and status.queue.reachable and not status.obstacles and not full:
        yield Finding(
            "pending-old",
            Level.BROKEN,
            f"{_standing(status)} a message has waited for {show_seconds(oldest)}, although Redis answers.",
            "Read that relay's log. To move the partition, stop that relay: another one takes over at once.",
            "#partitions",
        )


def _standing(status: Status) -> str:
    """The partition that stands still, and whose it is."""
    where = status.oldest_partition or "A partition"
    owner = next(
        (p.get("owner") for p in status.partitions if f"{p['stream']}/{p['number']}" == status.oldest_partition), None
    )
    return f"{where} stands still, and its owner is {f'the relay {owner}' if owner else 'nobody'}:"


def _full(sample: Sample, streams: Streams) -> list[Finding]:
    """Streams that take no more until workers have read some: the back-pressure, at work as it should."""
    found = []
    for name, depth in sample.status.queue.streams.items():
        limit, (_, most, shown) = streams[name].max_undelivered, _undelivered(depth)
        if _is_paused(sample, streams, name):
            continue
        if limit and most >= NEARLY * limit and sample.status.messages[State.PENDING]:
            found.append(
                Finding(
                    "stream-full", Level.LOOK, f"{name} has {shown} that no worker has; the rest waits in MongoDB.",
                    "Start more workers. Nothing is lost: the relay goes on as soon as there is room.", "#streams",
                )
            )  # fmt: skip
    return found


def _undelivered(depth: Depth, counted: int | None = None) -> tuple[int, int, str]:
    """How many entries no worker has been given: at least, at most, and in words.

    Where Redis has lost count (`counted`), they were counted one by one, up to a limit.
    """
    counted = depth.undelivered if counted is None else counted
    if counted is None and depth.length is not None:
        return LOOK_AHEAD + 1, depth.length, f"more than {LOOK_AHEAD:,} entries"
    return counted or 0, counted or 0, _count(counted or 0, "entry", "entries")


def _stuck(sample: Sample) -> Iterator[Finding]:
    for worker in sample.status.workers:
        if worker.is_stuck:
            first = worker.holds[0]
            silent = f", and is silent for {show_seconds(worker.silent_seconds)}" if worker.silent else ""
            yield Finding(
                "worker-stuck",
                Level.LOOK,
                f"The worker {worker.name} (process {worker.pid} on {worker.host}) has worked on message "
                f"{first.message or first.entry} of {first.stream} for {show_seconds(first.seconds)}{silent}.",
                "Look at that process, and at what its handler waits for. If it has died, another worker takes over "
                "what it held. Do not replay that: it would be done twice.",
                "#workers",
            )


def _workers(sample: Sample, streams: Streams) -> Iterator[Finding]:
    recorded = {worker.name for worker in sample.status.workers}
    undelivered = unacknowledged = 0
    for stream, readers in sample.readers.items():
        for group in readers.groups:
            if not group.declared:
                continue
            waiting, _, shown = _undelivered(sample.status.queue.streams.get(stream, Depth()), group.undelivered)
            undelivered += waiting
            unacknowledged += group.unacknowledged
            if _is_paused(sample, streams, stream):
                continue
            busy = min((consumer.idle_seconds for consumer in group.consumers), default=None)
            if waiting and (busy is None or busy > LONG_SECONDS):
                silent = "no worker has ever asked"
                if busy is not None:
                    last = min(group.consumers, key=lambda consumer: consumer.idle_seconds).name
                    silent = f"no worker has asked for {show_seconds(busy)}; the last was {last}"
                yield Finding(
                    "no-worker",
                    Level.BROKEN,
                    f"{_capital(shown)} of {stream} wait, and {silent}.",
                    f"Start workers of the group {group.name}.",
                    "#streams",
                )
            for consumer in group.consumers:
                if consumer.name in recorded:
                    continue  # it says itself what it holds, and for how long
                if consumer.unacknowledged and consumer.idle_seconds > STUCK_SECONDS:
                    yield Finding(
                        "idle-consumer",
                        Level.LOOK,
                        f"The worker {consumer.name} has held {_count(consumer.unacknowledged, 'entry', 'entries')} of "
                        f"{stream}, silent for {show_seconds(consumer.idle_seconds)}.",
                        "If it has died, a relay publishes what it held again after the stream's rescue_seconds. "
                        "Do not replay it: it would be done twice.",
                        "#workers",
                    )
    for holding in sample.status.queue.held:
        seen = _capital(str(holding))
        yield Finding("held-entries", Level.LOOK, f"{seen}.", f"To free it: {holding.command}", "#streams")
    on_the_way = sample.status.messages[State.PENDING] + sample.status.messages[State.SCHEDULED]
    ages = [(sample.at - file.since).total_seconds() for file in sample.queued]
    idle = sample.status.queue.reachable and not (on_the_way or undelivered or unacknowledged)
    if idle and max(ages, default=0.0) > STUCK_SECONDS:
        yield Finding(
            "acknowledged-unfinished",
            Level.BROKEN,
            "A file is queued, and nothing is on its way to a worker: it was acknowledged without a result.",
            "Read its story: a relay publishes it again, or it says that a replay is needed.",
            "#waiting",
        )


def _is_paused(sample: Sample, streams: Streams, name: str) -> bool:
    stream = streams[name]
    return (stream.topic or stream.family) in {pause.stream for pause in sample.status.paused}


def _paused(sample: Sample) -> Iterator[Finding]:
    for pause in sample.status.paused:
        since = f" for {show_seconds((sample.at - pause.at).total_seconds())}" if pause.at else ""
        by = f", by {pause.who}" if pause.who else ""
        why = f": {pause.reason}" if pause.reason else ""
        yield Finding(
            "paused",
            Level.LOOK,
            f"Stream {pause.stream} has been paused{since}{by}{why}. Its messages wait.",
            f"When the reason is gone: outbox streams resume {pause.stream}",
            f"streams/{quote(pause.stream)}",
        )


def _dead(sample: Sample) -> Iterator[Finding]:
    if dead := sample.status.messages[State.DEAD]:
        shown = _count(dead, "message", _many(sample.status, State.DEAD))
        yield Finding(
            "dead",
            Level.LOOK,
            f"{shown} could not be delivered, and must be looked at.",
            "See why, mend it, then retry or discard.",
            "dead",
        )


def _advice(sample: Sample) -> Iterator[Finding]:
    for warning in sample.status.queue.warnings:
        yield Finding("redis-advice", Level.LOOK, f"{_capital(warning)}.", "Change Redis's settings when you can.")


def _well(sample: Sample) -> Finding:
    messages = sample.status.messages
    on_the_way = messages[State.PENDING] + messages[State.SCHEDULED]
    many = f"{_many(sample.status, State.PENDING, State.SCHEDULED)} are"
    seen = f"All is well. {_count(on_the_way, 'message is', many)} on the way." if on_the_way else (
        "All is well. Nothing waits to be published."
    )  # fmt: skip
    return Finding("", Level.WELL, seen, "There is nothing to do.")


def _messages(status: Status) -> str:
    pending = status.messages[State.PENDING]
    return _count(pending, "message waits", f"{_many(status, State.PENDING)} wait") if pending else "no message waits"


def _many(status: Status, *states: State) -> str:
    return "messages" if status.bounds.keys().isdisjoint(states) else "or more messages"


def _count(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
