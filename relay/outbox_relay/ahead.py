"""Ahead: messages of one snapshot that are still to be published, batch by batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from outbox.message.document import Message

BATCHES = 4
"""How many batches are fetched at once. Each fetch passes over the index entries of all that was published in the last
minutes, which MongoDB keeps for readers of older snapshots: with 50,000 of them, ten times the work of a batch itself.
"""

UNKNOWN_BYTES = 64 * 1024.0
"""What a message is taken to have until one was seen. If they are large and taken for small, the first fetch of each
partition brings 16 MB."""


class Ahead:
    """What one fetch has brought, of one partition.

    Whatever is pending stays so while its partition is leased: only the owner publishes. So batches of one snapshot are
    what one larger batch would be. The owner forgets them when anything goes wrong. One thing may change meanwhile: a
    worker that still holds an entry which Redis has lost completes its message. Then it is published all the same, and
    whoever reads that entry sees that there is nothing to do.
    """

    def __init__(self, batch_size: int, batch_bytes: int) -> None:
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._messages: deque[Message] = deque()
        self._average = UNKNOWN_BYTES

    @property
    def wanted(self) -> int:
        """How many messages to fetch: some batches of them, but as many bytes at most, going by those of last time.

        Not more of large ones than are taken: MongoDB would read and send up to 16 MB of them, to be thrown away.
        """
        return max(1, min(BATCHES * self._batch_size, int(self.max_bytes / self._average)))

    @property
    def max_bytes(self) -> int:
        return BATCHES * self._batch_bytes

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, messages: Iterable[Message]) -> None:
        """What a fetch has brought. Nothing may be left of the one before."""
        assert not self._messages, "a snapshot is published to its end before there is another"
        self._messages.extend(messages)
        if self._messages:
            self._average = max(1.0, sum(message.size for message in self._messages) / len(self._messages))

    def take(self) -> list[Message]:
        """The next batch, in order. Empty: there is none."""
        batch: list[Message] = []
        size = 0
        while self._messages and len(batch) < self._batch_size and size < self._batch_bytes:
            batch.append(self._messages.popleft())
            size += batch[-1].size
        return batch

    def clear(self) -> None:
        self._messages.clear()
