"""The higher priority first, and none never."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from outbox import Priority, Stream, Streams
from outbox.streams.priorities import Turns

HIGH, NORMAL, LOW = Priority


def turns(*priorities: Priority) -> Turns:
    return Turns(Streams([Stream("s", "g", priorities=priorities)]).family("s"))


def test_the_higher_is_first_more_often() -> None:
    taking = turns(HIGH, LOW)
    first = Counter(taking.next()[0].priority for _ in range(2100))
    assert first == {HIGH: 1600, NORMAL: 400, LOW: 100}


@pytest.mark.parametrize(("priority", "longest"), [(HIGH, 3), (NORMAL, 8), (LOW, 21)])
def test_none_waits_for_long(priority: Priority, longest: int) -> None:
    taking = turns(HIGH, LOW)
    at = [n for n in range(500) if taking.next()[0].priority is priority]
    assert max(b - a for a, b in pairwise(at)) <= longest
    assert at[0] < longest


def test_who_finds_nothing_goes_on_to_the_next_highest() -> None:
    taking = turns(HIGH, LOW)
    for _ in range(50):
        first, *rest = (stream.priority for stream in taking.next())
        assert rest == [priority for priority in Priority if priority is not first]


def test_one_stream_has_every_turn() -> None:
    taking = turns()
    assert [[stream.name for stream in taking.next()] for _ in range(3)] == [["s"]] * 3
