"""The judge of consumers: each kind of violation, planted, is found; and nothing is found where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.faults.history import (
    Adopted,
    Appended,
    Deleted,
    History,
    Hopeless,
    Lost,
    Replayed,
    RolledBack,
    Skipped,
    Spoilt,
)
from tests.faults.judge_work import Work, judge


@dataclass
class Case:
    """m1 is completed, m2 is dead as its handler gave up on it, and m3 was never committed."""

    history: History = field(default_factory=History)
    outbox: dict[str, dict[str, Any]] = field(default_factory=dict)
    handled: dict[str, list[str]] = field(default_factory=dict)
    exactly: bool = True
    settles: bool = False
    beside: dict[str, list[list[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.history.add(Appended("m1", "a", contents="x"), Appended("m2", "a", contents="x"), Hopeless("m2"))
        self.history.add(RolledBack("m3"), Appended("m4", "a", acknowledged=False))
        self.store("m1", "completed")
        self.store("m2", "dead", last_error="GiveUp")
        self.handled["m1"] = ["x"]

    def store(self, message: str, state: str, **more: Any) -> None:
        self.outbox[message] = {"_id": message, "state": state, **more}

    def verdict(self) -> list[str]:
        return judge(
            self.history, self.outbox.values(), Work(self.exactly, self.handled, self.settles, self.beside, tries=3)
        )


def twice(case: Case) -> None:
    case.handled["m1"] = ["x", "x"]


def completed_and_not_handled(case: Case) -> None:
    del case.handled["m1"]


def acknowledged_and_not_handled(case: Case) -> None:
    case.exactly = False
    del case.handled["m1"]


def replayed_and_not_handled_again(case: Case) -> None:
    case.history.add(Replayed("m1", completed=True))


def an_effect_of_what_was_rolled_back(case: Case) -> None:
    case.handled["m3"] = ["x"]


def rolled_back_and_stored(case: Case) -> None:
    case.store("m3", "completed")


def an_effect_of_a_commit_that_did_not_happen(case: Case) -> None:
    case.handled["m4"] = ["x"]


def an_effect_of_what_failed(case: Case) -> None:
    case.handled["m2"] = ["x"]


def left_at_a_worker(case: Case) -> None:
    case.store("m1", "published")


def dead_although_it_can_be_done(case: Case) -> None:
    case.store("m1", "dead", last_error="given up after 3 tries")


def dead_without_a_reason(case: Case) -> None:
    case.store("m2", "dead")


def gone(case: Case) -> None:
    del case.outbox["m1"]


def other_contents(case: Case) -> None:
    case.handled["m1"] = ["y"]


def nobodys(case: Case) -> None:
    case.store("m9", "completed")


def adopted_twice(case: Case) -> None:
    case.history.add(Adopted("e1", "x"))
    for message in ("m8", "m9"):
        case.store(message, "completed", fields={"foreign": "e1"})
        case.handled[message] = ["x"]


def dead_of_a_note_without_a_reason(case: Case) -> None:
    case.history.add(Spoilt("m1"))
    case.store("m1", "dead")


def left_at_a_worker_with_a_note(case: Case) -> None:
    case.history.add(Spoilt("m1"))
    case.store("m1", "published")


def deleted_and_there_again(case: Case) -> None:
    case.history.add(Deleted("m1"))


def ends_its_process_with_others_again(case: Case) -> None:
    case.beside["m2"] = [["m1"], ["m1"]]


def ends_its_process_for_ever(case: Case) -> None:
    case.beside["m2"] = [[]] * 7


PLANTED: dict[Callable[[Case], None], str] = {
    twice: "G6: m1 should have taken effect 1 times, and has 2 times",
    completed_and_not_handled: "G6: m1 should have taken effect 1 times, and has 0 times",
    acknowledged_and_not_handled: "G6: m1 is completed, and nobody has handled it",
    replayed_and_not_handled_again: "G6: m1 should have taken effect 2 times, and has 1 times",
    an_effect_of_what_was_rolled_back: "G2: m3 was never committed, and was handled 1 times",
    rolled_back_and_stored: "G2: m3 was rolled back, and is in the outbox as completed",
    an_effect_of_a_commit_that_did_not_happen: "G2: m4 was never committed, and was handled 1 times",
    an_effect_of_what_failed: "G6: m2 has failed each time, and has taken effect 1 times",
    left_at_a_worker: "G1: m1 is published, and should be completed",
    dead_although_it_can_be_done: "G1: m1 is dead (given up after 3 tries), and should be completed",
    dead_without_a_reason: "G1: m2 is dead without a reason",
    gone: "G1: m1 was acknowledged, and is not in the outbox",
    other_contents: "surface: m1 was handled with other contents",
    nobodys: "G2: nobody appended m9",
    adopted_twice: "G6: the entry e1 of others became 2 messages",
    dead_of_a_note_without_a_reason: "G1: m1 is dead without a reason",
    left_at_a_worker_with_a_note: "G1: m1 is published, and should be completed",
    deleted_and_there_again: "G2: m1 was deleted, and is in the outbox as completed",
    ends_its_process_for_ever: "surface: m2 has ended its process 7 times, and may be tried 3 times",
    ends_its_process_with_others_again: "surface: m2 has ended its process 2 times, 2 times with others in hand",
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_violation_is_found(plant: Callable[[Case], None]) -> None:
    case = Case()
    plant(case)
    assert [violation for violation in case.verdict() if PLANTED[plant] in violation], case.verdict()


def nothing(case: Case) -> None:
    pass


def replayed_and_done_again(case: Case) -> None:
    case.history.add(Replayed("m1", completed=True))
    case.handled["m1"] = ["x", "x"]


def replayed_lost_and_settled_before(case: Case) -> None:
    case.settles = True
    case.history.add(Replayed("m1", completed=True), Lost())


def a_plain_worker_does_it_twice(case: Case) -> None:
    case.exactly = False
    case.handled["m1"] = ["x", "x"]


def read_without_an_acknowledgement_while_others_acknowledged(case: Case) -> None:
    acknowledged_and_not_handled(case)
    case.history.add(Skipped("m1"))


def an_unknown_commit_that_happened(case: Case) -> None:
    case.store("m4", "completed")
    case.handled["m4"] = [""]


def an_entry_of_others_is_adopted(case: Case) -> None:
    case.history.add(Adopted("e1", "x"))
    case.store("m9", "completed", fields={"foreign": "e1"})
    case.handled["m9"] = ["x"]


def an_entry_of_others_is_replayed_and_done_again(case: Case) -> None:
    an_entry_of_others_is_adopted(case)
    case.history.add(Replayed("m9", completed=True))
    case.handled["m9"] = ["x", "x"]


def dead_of_a_note(case: Case) -> None:
    case.history.add(Spoilt("m1"))
    case.store("m1", "dead", last_error="the document cannot be decoded")
    case.handled.clear()


def deleted_before_its_append_was_answered(case: Case) -> None:
    case.history = History([Deleted("m1"), *case.history.events])
    gone(case)


def ends_its_process_alone_from_then_on(case: Case) -> None:
    case.beside["m2"] = [["m1"], [], []]


def ends_its_process_and_is_lost(case: Case) -> None:
    case.history.add(Lost())
    case.beside["m2"] = [["m1"], ["m1"], []]


@pytest.mark.parametrize(
    "arrange",
    [
        nothing, replayed_and_done_again, replayed_lost_and_settled_before,
        a_plain_worker_does_it_twice, read_without_an_acknowledgement_while_others_acknowledged,
        an_unknown_commit_that_happened,
        an_entry_of_others_is_adopted, an_entry_of_others_is_replayed_and_done_again,
        dead_of_a_note, deleted_before_its_append_was_answered,
        ends_its_process_alone_from_then_on, ends_its_process_and_is_lost,
    ],
    ids=lambda arrange: arrange.__name__,
)  # fmt: skip
def test_nothing_is_found_where_nothing_is(arrange: Callable[[Case], None]) -> None:
    case = Case()
    arrange(case)
    assert case.verdict() == []
