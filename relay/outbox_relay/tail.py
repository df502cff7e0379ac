"""Tail: what a change stream shows of new messages, so that a partition which has caught up needs no fetch.

Events come in the order of commits, and only of what a majority has. They count from the snapshot of a fetch on that
found all there was: what is before it, the fetch has seen. After anything that the stream does not show as a new
message (a retry, a replay, a recovery), and after any doubt, the next look is a fetch again.

As with what a fetch has brought (Ahead), a message that is deleted or completed meanwhile, here even by the transaction
that inserted it, is published all the same, and whoever reads its entry sees that there is nothing to do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter

from bson import Timestamp

from outbox.errors import InvalidMessage
from outbox.message.document import Message, read_document
from outbox.protocol.changes import Begun, Change
from outbox.streams.declaration import Partition

MOST = 1000
"""Messages that wait in an inbox. A partition that is so far behind is fetched."""

MOST_BYTES = 4 * 1024 * 1024


class Inbox:
    """New messages of one partition, as the change stream shows them."""

    def __init__(self) -> None:
        self.since: Timestamp | None = None
        """From here on the stream shows all there is. A fetch must be as new. None: there is no stream."""
        self._joined: Timestamp | None = None
        self._shown: deque[tuple[Timestamp, Message]] = deque()
        self._size = 0

    @property
    def joined(self) -> bool:
        """Whether all that is pending and not published yet is what was shown: nothing has to be fetched."""
        return self._joined is not None

    @property
    def waiting(self) -> int:
        """How many messages were shown and not taken yet."""
        return len(self._shown) if self.joined else 0

    def begin(self, since: Timestamp | None) -> None:
        """The stream was opened and shows all from `since` on; or, with None, there is none any more."""
        self.since = since
        self._forget()

    def show(self, at: Timestamp, message: Message) -> None:
        """`message` was committed at this time."""
        if self.since is None or (self._joined and at <= self._joined):
            return
        self._shown.append((at, message))
        self._size += message.size
        if len(self._shown) > MOST or self._size > MOST_BYTES:
            self.doubt(at)

    def doubt(self, at: Timestamp | None = None) -> None:
        """Something else became pending at this time, or may have: look for it by a fetch that is as new."""
        self._joined = None
        if at is not None and self.since is not None:
            self.since = max(self.since, at)
            self._forget()

    def join(self, at: Timestamp | None) -> None:
        """A fetch has found all that was committed until then; what was shown later follows."""
        if at is None or self.since is None or at < self.since:
            return
        self._joined = at
        while self._shown and self._shown[0][0] <= at:
            self._size -= self._shown.popleft()[1].size

    def take(self, count: int, size: int) -> list[Message]:
        """The next messages: so many, or so many bytes, at most. By their positions, as those of a fetch.

        For one key that is the order of commits, as far as docs/append.md promises it: who commits later has appended
        later. By it, it is known which entry of the batch was whose after it has been removed.
        """
        taken: list[Message] = []
        left = size
        while self.waiting and len(taken) < count and left > 0:
            # Should they not be published after all, the fetch that looks for them must be as new.
            self.since, message = self._shown.popleft()
            taken.append(message)
            left -= message.size
        self._size -= size - left
        return sorted(taken, key=attrgetter("position"))

    def _forget(self) -> None:
        self._joined = None
        self._shown.clear()
        self._size = 0


class Tail:
    """The inboxes of one relay's partitions."""

    def __init__(
        self, wake: Callable[[set[Partition] | None], None], scheduled: Callable[[], None] = lambda: None
    ) -> None:
        """`wake` is called with the partitions whose owners have something to do; None: all of them.

        `scheduled` is called when a message was scheduled, or may have been.
        """
        self._wake = wake
        self._scheduled = scheduled
        self._since: Timestamp | None = None
        self._inboxes: dict[Partition, Inbox] = {}

    def inbox(self, partition: Partition) -> Inbox:
        """A new one, in place of an earlier owner's."""
        inbox = self._inboxes[partition] = Inbox()
        inbox.begin(self._since)
        return inbox

    def leave(self, partition: Partition, inbox: Inbox) -> None:
        """The partition is not drained any more, unless it is by another owner already."""
        if self._inboxes.get(partition) is inbox:
            del self._inboxes[partition]

    def end(self) -> None:
        """The stream was closed, by an error or on purpose."""
        self._begin(None)

    def look_everywhere(self) -> None:
        """Something is pending, and nobody knows where."""
        for inbox in self._inboxes.values():
            inbox.doubt()
        self._wake(None)

    def show(self, seen: Begun | Sequence[Change] | None) -> None:
        """What the stream shows goes into the inboxes. None: it is closed for now, so look everywhere."""
        if seen is None:
            self.look_everywhere()
        elif isinstance(seen, Begun):
            self._begin(seen.since)
            self._wake(None)
        else:
            if any(change.scheduled for change in seen):
                self._scheduled()
            became_pending = [change for change in seen if not change.scheduled]
            anywhere = max((change.at for change in became_pending if change.partition is None), default=None)
            if anywhere is not None:
                # Once for them all, and not for each: there may be a thousand, and hundreds of partitions.
                for inbox in self._inboxes.values():
                    inbox.doubt(anywhere)
            for change in became_pending:
                if change.partition and (there := self._inboxes.get(change.partition)):
                    _pass_on(change, there)
            where = {change.partition for change in became_pending if change.partition}
            self._wake(where if anywhere is None else None)

    def _begin(self, since: Timestamp | None) -> None:
        self._since = since
        self._scheduled()
        for inbox in self._inboxes.values():
            inbox.begin(since)


def _pass_on(change: Change, inbox: Inbox) -> None:
    try:
        message = read_document(change.new) if change.new else None
    except InvalidMessage:  # which is for a fetch to deal with
        message = None
    if message:
        inbox.show(change.at, message)
    else:
        inbox.doubt(change.at)
