"""The protections of the protocol, one switch each, and the bounds within which it is explored."""

from __future__ import annotations

from typing import NamedTuple


class Rules(NamedTuple):
    """All on: the protocol. A mutation turns some off."""

    token: bool = True
    """`publish` and `stamp` refuse every token but the checkpoint's."""
    chain: bool = True
    """`publish` and `stamp` refuse a batch that does not follow the very batch (number and tag) in the checkpoint."""
    adopt: bool = True
    """An unmarked last batch is adopted only if it follows the very batch that the lease names."""
    reconcile: bool = True
    """MongoDB is reconciled with the checkpoint after each open."""
    late_mark: bool = True
    """Messages are marked after the batch is published, not before."""
    advance: bool = True
    """The lease advances before the messages are marked, not after."""
    named: bool = True
    """Each recovery leaves a tag of its own in the lease."""
    expected: bool = True
    """The lease moves on only from the position at which its owner knows it."""
    intent: bool = True
    """The lease names the messages of a write before that write is sent."""
    fence: bool = True
    """Whoever opens the checkpoint first fences the messages that the lease names."""
    heed: bool = True
    """A write to messages does nothing to one that is fenced by a higher token."""
    own: bool = True
    """Each reconciliation has a token of its own, also that of an owner which has the lease already."""
    looked: bool = True
    """Who wrote and changed fewer messages than it should looks why, and does not take it for done."""
    snapshot: bool = True
    """A fetch is one snapshot."""
    joined: bool = True
    """After a reconciliation, the change stream counts only from the snapshot of a fetch on."""
    cut: bool = True
    """What the change stream has shown of the time before that snapshot is not published by it."""
    whole: bool = True
    """It does not count after a fetch that has left something over."""
    flushed: bool = True
    """A fetch comes after the marks of all that is published, which would be fetched again."""
    chained: bool = True
    """The checkpoint names the messages of all batches that are not known to be marked."""
    current: bool = True
    """A fetch counts only if the lease was held when it was made."""
    exact: bool = True
    """A mark changes a message only if it still waits for the very attempt that was published."""
    gone: bool = True
    """A deleted stream is noticed, although its checkpoint stays."""
    incarnation: bool = True
    """A deleted stream is told from the new one also after other partitions have added to that."""
    marker: bool = True
    """A recovery ends only in the stream in which it began."""
    scan: bool = True
    """Where histories disagree, the stream is searched for survivors."""
    pinned: bool = True
    """A page of the scan counts only while the checkpoint is the one that was opened."""
    shared: bool = True
    """Histories are taken to agree only on the word of a published message."""
    relabel: bool = True
    """Survivors of a scan take the position to which the partition was brought."""
    unknown: bool = True
    """The lease forgets its position before a recovery takes back the first message."""
    nonce: bool = True
    """A checkpoint that was not there begins as a history of its own."""
    stamp: bool = True
    """A recovery ends with an empty batch, so that what was before it is another history."""
    root: bool = True
    """That empty batch names no batch before it, so that it is never taken for one that was merely not marked."""
    wanted: bool = True
    """What is settled is not taken back."""
    same: bool = True
    """A message that is taken back is published again under the same attempt."""
    raised: bool = True
    """A replay raises the attempt in any case, not only when a mark has seen the one before."""


class Bounds(NamedTuple):
    """What may happen in one run at most."""

    keys: tuple[int, ...] = (0,)
    """The key of each message, in commit order."""
    early: int = 1
    """So many messages are committed from the start; the others at any time."""
    tail: bool = False
    """Whether relays publish what a change stream shows, without a fetch, when they have caught up."""
    group: int = 0
    """So many batches that the change stream showed may be unmarked at a time, which are then marked together."""
    batch: int = 2
    page: int = 2
    """So many messages are marked, kept or taken back at once."""
    acquires: int = 1
    """So often a lease is taken, by the other relay or after a crash."""
    troubles: int = 0
    """So many requests are lost, repeated or late, or lose their reply."""
    losses: int = 0
    """So often Redis goes back to a copy, gets back what it had lost, or loses a key."""
    replays: int = 0
    settles: int = 0
    restores: int = 0
    """So often MongoDB goes back to a copy, or its leases are made anew, with all relays stopped."""
