"""Protections against bytes, names and values that nobody should write."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "replies that are not UTF-8 are read", "G1", "outbox/topology.py",
        '"encoding_errors": "surrogateescape"', '"encoding_errors": "strict"',
        "tests/worker/test_bytes.py::test_an_entry_that_cannot_be_a_message_is_acknowledged_and_named",
    ),
    Mutation(
        "names are sent back as the bytes that they are", "G8", "outbox/topology.py",
        '"encoding_errors": "surrogateescape"', '"encoding_errors": "replace"',
        "tests/worker/test_bytes.py::test_a_group_and_a_consumer_of_others_keep_their_names",
    ),
]  # fmt: skip
