"""Mutations of what reaches several groups."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

TESTS = "tests/worker/test_groups.py"

MUTATIONS = [
    Mutation(
        "an append writes a message for each group",
        "G6",
        "outbox/draft.py",
        "*((name, ObjectId()) for name in further)",
        "",
        f"{TESTS}::test_append_returns_the_id_of_the_first_group_and_append_each_those_of_all",
    ),
    Mutation(
        "a worker is of a declared group",
        "G6",
        "outbox/worker/reading.py",
        "return registered.of_group(chosen, group).name",
        "return chosen",
        f"{TESTS}::test_a_worker_under_a_group_that_is_not_declared_ends_and_says_how_to_declare_it",
    ),
    Mutation(
        "several groups have no subject",
        "G6",
        "outbox/streams/properties.py",
        "if groups and stream.subject:",
        "if False:",
        f"{TESTS}::test_what_cannot_be_groups_is_refused",
    ),
]
