"""The streams that are declared: their names, consumer groups, partitions, subjects, priorities, shards and limits."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from outbox.errors import NoSuchPriority, SettingsError, UndeclaredGroup, UndeclaredStream
from outbox.streams import properties
from outbox.streams.keys import checkpoint_key, refuse_shared_keys
from outbox.streams.pauses import Pauses
from outbox.streams.priorities import Priority as Priority
from outbox.streams.retry import Retry as Retry
from outbox.streams.subject import Subject as Subject

FILE_STREAM = "file_parsing_queue"
FILE_GROUP = "file_parsers"


@dataclass(frozen=True, slots=True)
class Partition:
    """A stream's slice that one relay drains at a time; a key always falls into the same one."""

    stream: str
    number: int

    def __str__(self) -> str:
        return f"{self.stream}/{self.number}"


@dataclass(frozen=True, slots=True)
class Stream:
    """A declared Redis stream. Raises SettingsError for what could not stand in OUTBOX_STREAMS, too.

    `partitions` bounds how many batches can be on their way at once. A registered number is changed by
    `outbox streams change`, which keeps the order of each key.

    `rescue_seconds`: what a worker has held for so long without a sign of life for it, or has no entry any more, is
    published again; 0 is never. Longer than the longest work of workers other than ours, which give none.

    `handler_seconds`: how long one call of a handler may take, in workers built on our consumer, before its attempt has
    failed; 0 is no limit.

    `priorities` gives messages of these priorities streams of their own, `name:high` and `name:low`, alike in all else.
    A stream that was made so has its `priority`. Order is kept within a stream: what is urgent overtakes, also
    messages of its own key.

    `groups` are further groups, each of which handles every message that is appended to `name`, as `group` does: with a
    stream of its own, `name:GROUP`, alike in all else, and so with its own retries, dead letters and back-pressure. One
    append writes a message for each. There is no subject then: the group that settled it first would do so for all.

    `shards` spreads it over so many streams, `name`, `name:1`, `name:2`, alike in all else, and so over the nodes of a
    cluster; a key always falls into the same one, its `shard`. Raising it moves keys, as with `partitions`.

    `max_undelivered` entries at most wait in Redis for a worker, the rest in MongoDB; 0 is no limit. `trim` removes
    entries that every group has acknowledged. A group other than `group` that has done nothing for
    `ignore_groups_after_seconds`, and so holds them all up, is left out of that; None waits for it for ever.

    `prefix` begins its key in Redis, and is the same for all streams of an outbox. Leave it out in code: the registered
    one, which `outbox init` sets, is used.

    `gone_is_done`, of a stream without a subject: what the group was given, and is neither held nor in the stream any
    more, counts as done after `rescue_seconds`. For workers that delete what they have acknowledged.

    `unique_seconds`: for so long from its append, a message with a unique value is enough, whatever has become of it.
    """

    name: str
    group: str
    partitions: int = 4
    subject: Subject | None = None
    retry: Retry = Retry()  # noqa: RUF009  # it is frozen
    rescue_seconds: float = 300.0
    priorities: tuple[Priority, ...] = ()
    priority: Priority = Priority.NORMAL
    shards: int = 1
    shard: int = 0
    max_undelivered: int = 200_000
    trim: bool = True
    ignore_groups_after_seconds: float | None = None
    handler_seconds: float = 3600.0
    gone_is_done: bool = False
    unique_seconds: float = 0.0
    groups: tuple[str, ...] = ()
    prefix: str = ""
    topic: str = ""
    """Of a further group's stream: the one that was declared."""
    earlier_partitions: tuple[int, ...] = ()

    def __hash__(self) -> int:
        return hash(self.name)  # of all its fields, it would take longer than what streams are looked up for

    def __post_init__(self) -> None:
        properties.check(self)

    @property
    def key(self) -> str:
        """The Redis key of the stream. `name` is what this outbox calls it, in MongoDB and to people."""
        return self.prefix + self.name

    @property
    def family(self) -> str:
        """The name by which messages of all its priorities and shards are appended: the one that was declared."""
        name = self.name if self.priority is Priority.NORMAL else self.name.removesuffix(f":{self.priority}")
        return name.removesuffix(f":{self.shard}") if self.shard else name

    def members(self) -> list[Stream]:
        """Itself, the streams of its further groups, and those of the other priorities and shards of each."""
        of_groups = [
            replace(self, name=f"{self.name}:{group}", group=group, groups=(), topic=self.name) for group in self.groups
        ]
        return [member for stream in (self, *of_groups) for member in stream._spread()]

    def _spread(self) -> list[Stream]:
        every = [(shard, priority) for shard in range(self.shards) for priority in (Priority.NORMAL, *self.priorities)]
        return [
            self if (shard, priority) == (0, Priority.NORMAL) else
            replace(
                self, name=_member(self.name, shard, priority), shard=shard, priority=priority, priorities=(), groups=()
            )
            for shard, priority in every
        ]  # fmt: skip

    def shard_of(self, key: str) -> int:
        """The number of the shard of `key`: by bits of the CRC-32 that say nothing of its partition."""
        return (zlib.crc32(key.encode(errors="replace")) >> 16) % self.shards

    @property
    def numbers(self) -> range:
        """The numbers of all its partitions, with those that only earlier appenders use."""
        return range(max(self.partitions, *self.earlier_partitions, 0))

    def partition_of(self, key: str) -> int:
        """The number of the partition of `key`: CRC-32 (IEEE) of its UTF-8 bytes, modulo `partitions`."""
        return zlib.crc32(key.encode()) % self.partitions

    def batch_size(self, wanted: int) -> int:
        """How many messages one batch may have: `wanted`, or half of what may wait in the stream.

        Half, so that workers still have something to do when a batch has just not fitted.
        """
        return min(wanted, max(1, self.max_undelivered // 2)) if self.max_undelivered else wanted

    def most_before(self, room: int) -> int:
        """How many entries may wait in the stream for there to be `room` for so many more; -1: any number.

        Entries of its own group. One that somebody else has left behind must not stop the work of all.
        """
        return max(0, self.max_undelivered - room) if self.max_undelivered else -1

    def checkpoint_key(self, number: int) -> str:
        """The Redis key of a partition's checkpoint."""
        return checkpoint_key(self.key, number)


def _member(family: str, shard: int, priority: Priority) -> str:
    return family + (f":{shard}" if shard else "") + (f":{priority}" if priority is not Priority.NORMAL else "")


class Streams(Mapping[str, Stream]):
    """The declared streams by name, those of each priority and shard among them.

    Looking up another name raises UndeclaredStream, naming the nearest one.
    """

    def __init__(self, streams: Iterable[Stream]) -> None:
        self.revisions: Mapping[str, int] = {}
        """Of the registered streams, by name, as they were read."""
        self.pauses = Pauses()
        given = list(streams) if isinstance(streams, Iterable) else [streams]
        if isinstance(streams, Stream | str) or not all(isinstance(stream, Stream) for stream in given):
            raise SettingsError('Streams needs a list of streams, such as Streams([Stream("orders", group="billing")])')
        declared = [one for stream in given for one in stream.members()]
        self._streams = {stream.name: stream for stream in declared}
        if len(self._streams) < len(declared):
            raise SettingsError("a stream is declared twice: each name can have one group and one subject")
        refuse_shared_keys([stream.key for stream in declared])
        if not self._streams:
            raise SettingsError("declare at least one stream")

    def __getitem__(self, name: str) -> Stream:
        try:
            return self._streams[name]
        except (KeyError, TypeError):  # what is no text names no stream
            near = get_close_matches(str(name), self._streams, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"declared are: {', '.join(self._streams)}"
            raise UndeclaredStream(f"stream {name!r} is not declared; {hint}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._streams

    def __iter__(self) -> Iterator[str]:
        return iter(self._streams)

    def __len__(self) -> int:
        return len(self._streams)

    def serving(self, name: str, priority: Priority, key: str = "") -> Stream:
        """The stream for messages of `priority` under `key` that are appended to `name`.

        Raises UndeclaredStream, and its kind NoSuchPriority.
        """
        stream = self[name]
        wanted = stream.priority if priority is Priority.NORMAL else priority
        try:
            return self._streams[_member(stream.family, stream.shard_of(key), wanted)]
        except KeyError:
            raise NoSuchPriority(
                f'stream {stream.family!r} has no {priority} priority: add "priorities": ["{priority}"] to it in '
                "OUTBOX_STREAMS, run `outbox init`, and start this program again"
            ) from None

    def fan_out(self, name: str) -> list[str]:
        """The streams that a message appended to `name` enters: that one, and one for each of its further groups."""
        family = self[self[name].family]
        return [name, *(f"{family.name}:{group}{name.removeprefix(family.name)}" for group in family.groups)]

    def of_group(self, name: str, group: str) -> Stream:
        """The stream from which `group` reads what is appended to `name`.

        Raises UndeclaredStream, and its kind UndeclaredGroup.
        """
        declared = [self[one] for one in self.fan_out(self[name].topic or name)]
        for stream in declared:
            if stream.group == group:
                return stream
        known = ", ".join(repr(stream.group) for stream in declared)
        raise UndeclaredGroup(
            f"group {group!r} is not declared for stream {name!r}, which is read by {known}: add it to the stream's "
            f'"groups" in OUTBOX_STREAMS, such as "groups": ["{group}"], run `outbox init`, and start the relays and '
            "whatever appends again"
        )

    def family(self, name: str) -> list[Stream]:
        """The streams of all priorities and shards of `name`, the highest first; by a shard's name, only its own."""
        order, chosen = list(Priority), self[name]
        kin = (stream for stream in self.values() if stream.family == chosen.family)
        members = (stream for stream in kin if not chosen.shard or stream.shard == chosen.shard)
        return sorted(members, key=lambda stream: order.index(stream.priority))

    @property
    def prefix(self) -> str:
        """How the keys of all of them begin in Redis."""
        return next(iter(self.values())).prefix

    def partitions(self) -> list[Partition]:
        """Every partition of every stream."""
        return [Partition(stream.name, n) for stream in self.values() for n in stream.numbers]

    def declared(self) -> list[Stream]:
        """The streams as they were declared, without those of their further groups, other priorities and shards."""
        return [stream for stream in self.values() if stream.name == stream.family and not stream.topic]

    def families(self) -> dict[str, Stream]:
        """The same by name."""
        return {stream.name: stream for stream in self.declared()}


FILES = Stream(FILE_STREAM, FILE_GROUP, partitions=4, subject=Subject())
