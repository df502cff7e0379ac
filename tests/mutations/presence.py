"""Mutations of the record of what workers hold."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

TESTS = "tests/worker/test_presence.py"

MUTATIONS = [
    Mutation(
        "of a silent worker, what another one has taken over is not shown",
        "G6",
        "outbox/operations/workers.py",
        'if stored.get("state") in _UNDONE} - held',
        'if stored.get("state") in _UNDONE}',
        f"{TESTS}::test_of_a_worker_that_fell_silent_only_what_is_lost_is_shown",
    ),
    Mutation(
        "a worker makes no collection that `outbox init` has not made",
        "G8",
        "outbox/worker/presence.py",
        "            raise NotThere\n",
        "            pass\n",
        f"{TESTS}::test_a_worker_works_without_the_record",
    ),
]
