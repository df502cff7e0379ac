"""The inbox of what a change stream shows, without a stream."""

from __future__ import annotations

import pytest
from bson import ObjectId, Timestamp, encode

from outbox.message.document import Message
from outbox.protocol.changes import Begun, Change
from outbox.streams.declaration import Partition
from outbox_relay.tail import MOST, Inbox, Tail
from tests.faults.poison import document
from tests.relay.world import PARTITION


def _message(number: int, size: int = 100) -> Message:
    return Message(ObjectId(), str(number), {"n": str(number)}, {}, 0, None, size)


def _counts(inbox: Inbox) -> bool:
    return inbox.joined


def _joined(at: int = 1) -> Inbox:
    inbox = Inbox()
    inbox.begin(Timestamp(at, 0))
    inbox.join(Timestamp(at, 0))
    return inbox


def test_an_inbox_that_is_full_is_given_up_until_a_newer_fetch() -> None:
    inbox = _joined()
    for number in range(MOST + 1):
        inbox.show(Timestamp(2, number), _message(number))
    assert not _counts(inbox)
    inbox.join(Timestamp(2, MOST - 1))
    assert not _counts(inbox)  # the last one came after that, and was not kept
    inbox.join(Timestamp(2, MOST))
    assert _counts(inbox)
    assert not inbox.waiting


def test_batches_are_bounded_by_number_and_bytes() -> None:
    inbox = _joined()
    for number in range(5):
        inbox.show(Timestamp(2, number), _message(number))
    assert [message.key for message in inbox.take(3, 1000)] == ["0", "1", "2"]
    assert [message.key for message in inbox.take(3, 1)] == ["3"]
    assert [message.key for message in inbox.take(3, 1000)] == ["4"]
    assert inbox.take(3, 1000) == []


def test_messages_of_one_batch_are_in_the_order_of_their_positions() -> None:
    """As a fetch would have them. Who has appended first may commit last."""
    inbox = _joined()
    for number in (2, 1, 0):
        inbox.show(Timestamp(2, 3 - number), _message(number)._replace(position=Timestamp(1, number)))
    assert [message.key for message in inbox.take(2, 1000)] == ["1", "2"]
    assert [message.key for message in inbox.take(2, 1000)] == ["0"]


def test_a_stream_that_ends_shows_nothing_any_more() -> None:
    woken: list[set[Partition] | None] = []
    tail = Tail(woken.append)
    inbox = tail.inbox(PARTITION)
    tail.show(Begun(Timestamp(1, 0)))
    inbox.join(Timestamp(1, 0))
    assert _counts(inbox)
    tail.end()
    assert not _counts(inbox)
    inbox.join(Timestamp(2, 0))
    assert not _counts(inbox)
    tail.show([Change(Timestamp(3, 0), PARTITION, None)])
    tail.show([Change(Timestamp(3, 0), None, None), Change(Timestamp(3, 1), PARTITION, None)])
    assert woken == [None, {PARTITION}, None]


def test_a_successor_has_an_inbox_of_its_own() -> None:
    tail = Tail(lambda _: None)
    before, after = tail.inbox(PARTITION), tail.inbox(PARTITION)
    tail.leave(PARTITION, before)
    tail.show(Begun(Timestamp(1, 0)))
    assert (before.since, after.since) == (None, Timestamp(1, 0))


def test_many_changes_of_nobody_knows_where_are_one_doubt_for_each_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand of them and hundreds of partitions would keep the event loop from all else for half a second."""
    tail = Tail(lambda _: None)
    inboxes = [tail.inbox(Partition(PARTITION.stream, number)) for number in range(3)]
    tail.show(Begun(Timestamp(1, 0)))
    for inbox in inboxes:
        inbox.join(Timestamp(1, 0))
    doubts: list[Timestamp | None] = []
    doubt = Inbox.doubt

    def counted(inbox: Inbox, at: Timestamp | None = None) -> None:
        doubts.append(at)
        doubt(inbox, at)

    monkeypatch.setattr(Inbox, "doubt", counted)
    tail.show([Change(Timestamp(2, number), None, None) for number in range(1000)])
    assert doubts == [Timestamp(2, 999)] * 3
    inboxes[0].join(Timestamp(2, 998))
    assert not _counts(inboxes[0])  # the last of them came after that fetch
    inboxes[0].join(Timestamp(2, 999))
    assert _counts(inboxes[0])


def test_what_is_shown_after_a_doubt_of_the_same_reply_is_kept() -> None:
    tail = Tail(lambda _: None)
    inbox = tail.inbox(PARTITION)
    tail.show(Begun(Timestamp(1, 0)))
    inbox.join(Timestamp(1, 0))
    before, after = encode(document(key="before")), encode(document(key="after"))
    tail.show(
        [
            Change(Timestamp(2, 0), PARTITION, before),
            Change(Timestamp(2, 1), None, None),
            Change(Timestamp(2, 2), PARTITION, after),
        ]
    )
    assert not _counts(inbox)
    inbox.join(Timestamp(2, 1))  # by a fetch, which has brought the first
    assert [message.key for message in inbox.take(9, 9000)] == ["after"]
