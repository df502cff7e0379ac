"""Mutations of what killed workers have locked."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "what a killed worker had locked is free when its messages are taken over",
        "G6",
        "outbox/worker/settlement.py",
        "await self.locks.end_of(hand.suspect)",
        "pass",
        "tests/worker/test_locks.py::test_a_worker_killed_in_its_transactions_stops_no_other[async]",
    ),
    Mutation(
        "and when it is started again under its name",
        "G6",
        "outbox/worker/processing.py",
        "await self._settlement.locks.end_of_predecessor()",
        "pass",
        "tests/worker/test_locks.py::test_a_worker_killed_in_its_transactions_stops_no_other[the same name again]",
    ),
    Mutation(
        "a worker's connections have its name, plain handlers' too",
        "G6",
        "outbox/worker/processing.py",
        "partial(connect_mongo_sync, settings, name=name)",
        "partial(connect_mongo_sync, settings)",
        "tests/worker/test_locks.py::test_a_worker_killed_in_its_transactions_stops_no_other[plain]",
    ),
    Mutation(
        "transactions of a living worker of the same name go on",
        "G1",
        "outbox/worker/processing.py",
        "if not self.name_is_taken:\n",
        "if True:\n",
        "tests/worker/test_locks.py::test_a_living_worker_of_the_same_name_keeps_its_transactions",
    ),
    Mutation(
        "what a worker does since it was started again goes on",
        "G1",
        "outbox/worker/locks.py",
        '"transaction.timeInactiveMicros": {"$gte": int(idle_seconds * 1_000_000)},',
        "",
        "tests/worker/test_locks.py::test_only_what_the_dead_worker_has_left_for_so_long_is_ended",
    ),
    Mutation(
        "of a worker that takes over, its own transactions go on",
        "G1",
        "outbox/worker/locks.py",
        "if consumer != self._consumer:",
        "if True:",
        "tests/worker/test_locks.py::test_only_what_the_dead_worker_has_left_for_so_long_is_ended",
    ),
    Mutation(
        "a suspect that waits for another's transaction lets others be handled",
        "G6",
        "outbox/worker/isolation.py",
        "        if hand.suspect is None:\n            await",
        "        if True:\n            await",
        "tests/worker/test_locks.py::test_a_suspect_that_waits_for_anothers_transaction_stops_nobody",
    ),
    Mutation(
        "and others are taken meanwhile",
        "G6",
        "outbox/worker/processing.py",
        "hand.suspect is not None and not hand.rests",
        "hand.suspect is not None",
        "tests/worker/test_locks.py::test_a_suspect_that_waits_for_anothers_transaction_stops_nobody",
    ),
    Mutation(
        "and is alone again afterwards",
        "G1",
        "outbox/worker/isolation.py",
        "            await self._begin(hand, suspect=True)\n",
        "            self._at_work, self._suspects = self._at_work + 1, self._suspects + 1\n",
        "tests/worker/test_locks.py::test_a_suspect_that_waits_for_anothers_transaction_stops_nobody",
    ),
    Mutation(
        "a suspect that waits for its turn does not fail by that",
        "G6",
        "outbox/worker/work.py",
        "deadline += time.monotonic() - began - pause",
        "pass",
        "tests/worker/test_locks.py::test_to_wait_for_its_turn_is_no_conflict",
    ),
]
