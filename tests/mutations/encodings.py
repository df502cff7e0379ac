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
    Mutation(
        "an attempt that MongoDB cannot hold stands for nothing", "G1", "outbox/checkpoint.py",
        " and int(attempt) <= MAX_ATTEMPTS", "",
        "tests/worker/test_bytes.py::test_an_attempt_that_no_relay_writes_stands_for_nothing",
    ),
    Mutation(
        "a field name that MongoDB does not take is refused", "G1", "outbox/message.py",
        'if "\\0" in name:', "if False:",
        "tests/worker/test_bytes.py::test_a_name_that_mongodb_does_not_take_is_acknowledged_and_named",
    ),
    Mutation(
        "documents that are not UTF-8 can be read", "G1", "outbox/connections.py",
        "return client.get_database(name, codec_options=LENIENT)", "return client[name]",
        "tests/cli/test_adverse.py::test_everything_goes_on",
    ),
]  # fmt: skip
