"""Protections of what is not ours."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

APART = "tests/faults/test_neighbours.py::test_an_outbox_in_a_database_of_its_own"

MUTATIONS = [
    Mutation(
        "collections begin with the prefix", "G8", "outbox/servers/database.py",
        "return prefix + name.removeprefix(OUTBOX) if is_core(name) else name", "return name",
        APART,
    ),
    Mutation(
        "subjects are looked up in the application's database", "G5", "outbox/message/subjects.py",
        "return database.application[subject.collection].with_options",
        "return database.client['x'][subject.collection].with_options",
        APART,
    ),
    Mutation(
        "an identity is made once", "G8", "outbox/message/meta.py",
        '{"$setOnInsert": new}', '{"$set": new}',
        "tests/outbox/test_meta.py::test_the_identity_is_made_once",
    ),
]  # fmt: skip
