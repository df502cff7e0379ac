"""The streams that are declared: their names, consumer groups, partitions and subjects."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from outbox.errors import SettingsError, UndeclaredStream

FILE_STREAM = "file_parsing_queue"
FILE_GROUP = "file_parsers"

_NAME = re.compile(r"[A-Za-z0-9_.:/-]*(\{[A-Za-z0-9_.:/-]+\})?[A-Za-z0-9_.:/-]*")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a stream's messages are about: the document whose `_id` is the message's key.

    A message is still wanted while the subject's `field` has the value `wanted`. Workers that know nothing of the
    outbox settle it by changing that field, and so still get exact recovery.
    """

    collection: str = "files"
    field: str = "parsing"
    wanted: str = "queued"


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a message is tried, and how long it waits between: exponential with full jitter, in seconds.

    `attempts` counts every publication, whatever it was for: a failed handler, a rescue, a recovery.
    """

    attempts: int = 5
    base_seconds: float = 2.0
    cap_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Partition:
    """A stream's slice that one relay drains at a time; a key always falls into the same one."""

    stream: str
    number: int

    def __str__(self) -> str:
        return f"{self.stream}/{self.number}"


@dataclass(frozen=True, slots=True)
class Stream:
    """A declared Redis stream.

    `partitions` bounds how many batches can be on their way at once. Raising it moves some keys to another partition:
    let the backlog become empty first, or those keys may be delivered out of order once.
    """

    name: str
    group: str
    partitions: int = 4
    subject: Subject | None = None
    retry: Retry = Retry()

    def __post_init__(self) -> None:
        if not self.name or not _NAME.fullmatch(self.name):
            raise SettingsError(
                f"stream name {self.name!r}: use letters, digits and _ . : / - with at most one {{hash tag}}"
            )
        if not self.group:
            raise SettingsError(f"stream {self.name!r}: name the consumer group that reads it")
        if not 1 <= self.partitions <= 256:
            raise SettingsError(f"stream {self.name!r}: partitions must be 1 to 256, not {self.partitions}")

    def partition_of(self, key: str) -> int:
        """The number of the partition of `key`: CRC-32 (IEEE) of its UTF-8 bytes, modulo `partitions`."""
        return zlib.crc32(key.encode()) % self.partitions

    def checkpoint_key(self, number: int) -> str:
        """The Redis key of a partition's checkpoint, in the same cluster slot as the stream.

        A stream without a hash tag becomes the tag, so that its own name stays as existing workers know it.
        """
        return checkpoint_key(self.name, number)


def checkpoint_key(stream: str, number: int) -> str:
    tagged = stream if "{" in stream else f"{{{stream}}}"
    return f"{tagged}:outbox:{number}"


class Streams(Mapping[str, Stream]):
    """The declared streams by name. Looking up another name raises UndeclaredStream, naming the nearest one."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        declared = list(streams)
        self._streams = {stream.name: stream for stream in declared}
        if len(self._streams) < len(declared):
            raise SettingsError("a stream is declared twice: each name can have one group and one subject")
        if not self._streams:
            raise SettingsError("declare at least one stream")

    def __getitem__(self, name: str) -> Stream:
        try:
            return self._streams[name]
        except KeyError:
            near = get_close_matches(name, self._streams, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"declared are: {', '.join(self._streams)}"
            raise UndeclaredStream(f"stream {name!r} is not declared; {hint}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._streams

    def __iter__(self) -> Iterator[str]:
        return iter(self._streams)

    def __len__(self) -> int:
        return len(self._streams)

    def partitions(self) -> list[Partition]:
        """Every partition of every declared stream."""
        return [Partition(stream.name, n) for stream in self.values() for n in range(stream.partitions)]


FILES = Stream(FILE_STREAM, FILE_GROUP, partitions=4, subject=Subject())
