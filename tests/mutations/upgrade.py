"""Protections of what the version before has left, and of its programs that go on until they are replaced."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

UPGRADE = "tests/upgrade/test_upgrade.py::test_what_the_version_before_has_left_is_brought_over"

MUTATIONS = [
    Mutation(
        "the API of the version before stays ready", "G8", "outbox/message/schema.py",
        '"fence": {"bsonType": ["int", "long"], "minimum": 0},',
        '"fence": {"bsonType": ["int", "long"], "minimum": 0}, "subject": {"bsonType": "object"},',
        UPGRADE,
    ),
    Mutation(
        "what version 1 has made is taken over", "G1", "outbox/message/installation.py",
        "(first and found.like_ours())", "False",
        UPGRADE,
    ),
]  # fmt: skip
