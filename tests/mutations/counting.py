"""Protections of those who wait for an answer from counts that grow with the outbox."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "what a replay selects is counted for so long, and no longer",
        "answers",
        "outbox/operations/replay.py",
        "with pymongo.timeout(COUNT_SECONDS):",
        "with pymongo.timeout(None):",
        "tests/api/test_counting.py::test_a_replay_that_is_not_counted_in_time_is_begun_and_done",
    ),
]
