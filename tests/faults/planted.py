"""What a judge looks at, in which each kind of violation can be planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.history import Appended, History, Lost, Poisoned, Replayed, RolledBack, Settled
from tests.faults.judge import judge

STREAM = "file_parsing_queue"


@dataclass
class Case:
    """A world that kept every promise: m1, m2 and m3 under key a, b and a, all acknowledged and published once."""

    history: History = field(default_factory=History)
    outbox: dict[str, dict[str, Any]] = field(default_factory=dict)
    stream: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    others: dict[str, list[tuple[str, dict[str, str]]]] = field(default_factory=dict)

    def append(self, message: str, key: str, *, acknowledged: bool = True) -> None:
        self.history.add(Appended(message, key, acknowledged))

    def store(self, message: str, state: str = "published", attempts: int = 1, **more: Any) -> None:
        self.outbox[message] = {"_id": message, "state": state, "attempts": attempts, **more}

    def publish(self, message: str, attempt: int = 1) -> None:
        last = int(self.stream[-1][0].partition("-")[0]) if self.stream else 0
        self.stream.append((f"{last + 1}-0", {"message_id": message, "attempt": str(attempt)}))

    def deliver(self, message: str, key: str) -> None:
        self.append(message, key)
        self.store(message)
        self.publish(message)

    def lose(self, *survived: str) -> None:
        """Redis has lost all but these."""
        there = [(fields["message_id"], int(fields["attempt"])) for _, fields in self.stream]
        self.stream = [entry for entry in self.stream if entry[1]["message_id"] in survived]
        self.history.add(Lost(tuple(one for one in there if one[0] in survived), tuple(there)))

    def verdict(self) -> list[str]:
        return judge(self.history, self.outbox.values(), {STREAM: self.stream, **self.others})


def never_published(case: Case) -> None:
    case.append("m4", "c")
    case.store("m4", "published")


def still_pending(case: Case) -> None:
    case.append("m4", "c")
    case.store("m4", "pending", 0)


def acknowledged_and_gone(case: Case) -> None:
    case.append("m4", "c")


def dead_without_a_reason(case: Case) -> None:
    case.append("m4", "c")
    case.store("m4", "dead", 0, last_error=None)


def dead_although_fit(case: Case) -> None:
    case.append("m4", "c")
    case.store("m4", "dead", 0, last_error="READONLY You can't write against a read only replica")


def an_unknown_commit_that_happened_is_not_published(case: Case) -> None:
    case.append("m4", "c", acknowledged=False)
    case.store("m4", "published")


def rolled_back_and_published(case: Case) -> None:
    case.history.add(RolledBack("m4"))
    case.publish("m4")


def rolled_back_and_stored(case: Case) -> None:
    case.history.add(RolledBack("m4"))
    case.store("m4")


def an_unknown_commit_that_did_not_happen_is_published(case: Case) -> None:
    case.append("m4", "c", acknowledged=False)
    case.publish("m4")


def published_and_never_appended(case: Case) -> None:
    case.publish("m4")


def stored_and_never_appended(case: Case) -> None:
    case.store("m4")


def out_of_order(case: Case) -> None:
    case.append("m4", "a")
    case.append("m5", "a")
    case.store("m4")
    case.store("m5")
    case.publish("m5")
    case.publish("m4")


def twice(case: Case) -> None:
    case.publish("m1")


def twice_under_another_attempt(case: Case) -> None:
    case.publish("m1", 2)
    case.store("m1", attempts=2)


def in_two_streams(case: Case) -> None:
    case.others["other"] = [("1-0", {"message_id": "m1", "attempt": "1"})]


def replayed_and_not_published_again(case: Case) -> None:
    case.history.add(Replayed("m1"))


def replayed_once_and_published_twice_again(case: Case) -> None:
    case.history.add(Replayed("m1"))
    case.publish("m1", 2)
    case.publish("m1", 3)
    case.store("m1", attempts=3)


def an_outage_that_spent_attempts(case: Case) -> None:
    case.append("m4", "c")
    case.store("m4", attempts=4)
    case.publish("m4", 4)


def an_attempt_left_out(case: Case) -> None:
    case.history.add(Replayed("m1"))
    case.publish("m1", 3)
    case.store("m1", attempts=3)


def attempts_that_go_back(case: Case) -> None:
    case.history.add(Replayed("m1"), Replayed("m1"))
    case.publish("m1", 3)
    case.publish("m1", 2)
    case.store("m1", attempts=3)


def an_attempt_that_was_not_recorded(case: Case) -> None:
    case.history.add(Replayed("m1"))
    case.publish("m1", 2)


def lost_and_not_published_again(case: Case) -> None:
    case.lose("m1", "m2")


def survived_and_published_again(case: Case) -> None:
    case.lose("m1", "m2")
    case.publish("m3", 2)
    case.store("m3", attempts=2)
    case.publish("m2", 2)
    case.store("m2", attempts=2)


def settled_and_published_again(case: Case) -> None:
    case.history.add(Settled("b"))
    case.lose("m1", "m3")
    case.publish("m2", 2)
    case.store("m2", attempts=2)


def settled_and_published_again_as_its_key_was_queued_again(case: Case) -> None:
    """Both of its messages come again, of which only the newer one is wanted."""
    case.history.add(Settled("b"))
    case.deliver("m4", "b")
    case.lose("m1", "m3")
    for message in ("m2", "m4"):
        case.publish(message, 2)
        case.store(message, attempts=2)


def lost_and_counted_as_published(case: Case) -> None:
    case.lose()
    case.publish("m1", 2)
    case.publish("m2", 2)
    case.store("m1", attempts=2)
    case.store("m2", attempts=2)


def published_again_out_of_order(case: Case) -> None:
    case.lose("m2")
    for message in ("m3", "m1"):
        case.publish(message, 2)
        case.store(message, attempts=2)


def poison_in_the_stream(case: Case) -> None:
    case.history.add(Poisoned("p1"))
    case.store("p1", "published")
    case.publish("p1")


def poison_that_waits_for_ever(case: Case) -> None:
    case.history.add(Poisoned("p1"))
    case.store("p1", "pending", 0)


def an_entry_without_an_attempt(case: Case) -> None:
    case.stream.append(("9-0", {"message_id": "m1"}))


def entries_that_go_back(case: Case) -> None:
    case.stream.append(("0-1", {"file_id": "by hand"}))


PLANTED: dict[Callable[[Case], None], str] = {
    never_published: "G1: m4 should be in the stream 1 times, and is 0",
    still_pending: "G1: m4 is still pending",
    acknowledged_and_gone: "G1: m4 was acknowledged, and is not in the outbox",
    dead_without_a_reason: "G1: m4 is dead without a reason",
    dead_although_fit: "G1: m4 was fit to be sent, and is dead",
    an_unknown_commit_that_happened_is_not_published: "G1: m4 should be",
    rolled_back_and_published: "G2: m4 was never committed",
    rolled_back_and_stored: "G2: m4 was rolled back, and is in the outbox",
    an_unknown_commit_that_did_not_happen_is_published: "G2: m4 was never committed",
    published_and_never_appended: "G2: m4 is in the stream, and no client appended it",
    stored_and_never_appended: "G2: m4 is in the outbox, and no client appended it",
    out_of_order: "G3: m5 stands before m4",
    twice: "G4: m1 is in the stream twice under attempt 1",
    twice_under_another_attempt: "G4: m1 should be in the stream 1 times, and is 2",
    in_two_streams: "G4: m1 is in more than one stream",
    replayed_and_not_published_again: "G1: m1 should be in the stream 2 times, and is 1",
    replayed_once_and_published_twice_again: "G4: m1 should be in the stream 2 times, and is 3",
    an_outage_that_spent_attempts: "attempts: m4 has reached attempt 4, where 1 were called for",
    an_attempt_left_out: "attempts: m1 leaves some out",
    attempts_that_go_back: "attempts: m1 goes back",
    an_attempt_that_was_not_recorded: "attempts: m1 has attempt 2 in the stream, and 1 recorded",
    lost_and_not_published_again: "G1: m3 should be in the stream 1 times, and is 0",
    survived_and_published_again: "G5: m2 survived the loss, and was published again",
    settled_and_published_again: "G5: m2 was settled before it was lost, and was published again",
    settled_and_published_again_as_its_key_was_queued_again: "G5: m2 was settled before it was lost",
    lost_and_counted_as_published: "G1: m3 counts as published, and is not in the stream",
    published_again_out_of_order: "G3: m3 stands before m1",
    poison_in_the_stream: "G1: p1 is poison, and is in the stream",
    poison_that_waits_for_ever: "G1: p1 is poison, and ended pending instead of dead",
    an_entry_without_an_attempt: "surface: entry 9-0 of file_parsing_queue has no attempt",
    entries_that_go_back: "stream file_parsing_queue: entry 0-1 stands behind a later one",
}
