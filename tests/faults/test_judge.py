"""The judge itself: each kind of violation, planted, is found; and nothing is found where nothing is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.history import Appended, Forgotten, Lost, Poisoned, Replayed, Retried, Settled
from tests.faults.planted import PLANTED, Case, settled_and_published_again_as_its_key_was_queued_again


@pytest.fixture
def case() -> Case:
    made = Case()
    for message, key in (("m1", "a"), ("m2", "b"), ("m3", "a")):
        made.deliver(message, key)
    return made


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_violation_is_found(case: Case, plant: Callable[[Case], None]) -> None:
    plant(case)
    assert [violation for violation in case.verdict() if PLANTED[plant] in violation], case.verdict()


def nothing(case: Case) -> None:
    pass


def entries_of_others(case: Case) -> None:
    case.stream.append(("9-0", {"file_id": "by hand"}))


def an_unknown_commit_that_happened(case: Case) -> None:
    case.deliver("m4", "c")
    case.history.events[-1] = Appended("m4", "c", acknowledged=False)


def an_unknown_commit_that_did_not_happen(case: Case) -> None:
    case.append("m4", "c", acknowledged=False)


def a_replay(case: Case) -> None:
    case.history.add(Replayed("m1"))
    case.publish("m1", 2)
    case.store("m1", attempts=2)


def poison_that_is_dead(case: Case) -> None:
    case.history.add(Poisoned("p1"))
    case.store("p1", "dead", 0, last_error="fields is missing or empty")


def dead_then_retried(case: Case) -> None:
    case.append("m4", "a")
    case.deliver("m5", "a")
    case.history.add(Retried("m4"))
    case.store("m4")
    case.publish("m4")


def a_tail_that_was_lost_and_came_again(case: Case) -> None:
    case.lose("m1", "m2")
    case.publish("m3", 2)
    case.store("m3", attempts=2)


def lost_before_it_was_marked(case: Case) -> None:
    case.lose("m1", "m2")
    case.publish("m3", 1)


def settled_then_lost(case: Case) -> None:
    case.history.add(Settled("b"))
    case.lose("m1", "m3")
    case.store("m2", "completed")


def queued_again_and_forgotten_that_it_was_settled(case: Case) -> None:
    settled_and_published_again_as_its_key_was_queued_again(case)
    case.history.add(Forgotten())


def settled_while_it_waited_and_then_all_was_lost(case: Case) -> None:
    case.append("m4", "c")
    case.history.add(Settled("c"))
    case.lose("m1", "m2", "m3")
    case.store("m4")
    case.publish("m4")


def a_replay_that_was_lost(case: Case) -> None:
    a_replay(case)
    case.history.add(Lost((("m1", 1), ("m2", 1), ("m3", 1)), (("m1", 1), ("m2", 1), ("m3", 1), ("m1", 2))))
    del case.stream[-1]
    case.publish("m1", 3)
    case.store("m1", attempts=3)


def an_older_attempt_that_redis_remembers_before_a_replay_is_published(case: Case) -> None:
    """All is lost while the replay waits; then a copy comes back that has the first attempts."""
    there = list(case.stream)
    case.history.add(Replayed("m1"))
    case.lose()
    case.stream = there
    first = (("m1", 1), ("m2", 1), ("m3", 1))
    case.history.add(Lost(first, ()))
    case.publish("m1", 2)
    case.store("m1", attempts=2)


def replayed_after_it_was_settled_and_lost(case: Case) -> None:
    settled_then_lost(case)
    case.history.add(Replayed("m2"))
    case.publish("m2", 2)
    case.store("m2", attempts=2)


@pytest.mark.parametrize(
    "arrange",
    [
        nothing, entries_of_others, an_unknown_commit_that_happened, an_unknown_commit_that_did_not_happen, a_replay,
        poison_that_is_dead, dead_then_retried, a_tail_that_was_lost_and_came_again, lost_before_it_was_marked,
        settled_then_lost, queued_again_and_forgotten_that_it_was_settled,
        settled_while_it_waited_and_then_all_was_lost, a_replay_that_was_lost,
        an_older_attempt_that_redis_remembers_before_a_replay_is_published, replayed_after_it_was_settled_and_lost,
    ],
    ids=lambda arrange: arrange.__name__,
)  # fmt: skip
def test_nothing_is_found_where_nothing_is(case: Case, arrange: Callable[[Case], None]) -> None:
    arrange(case)
    assert case.verdict() == []
