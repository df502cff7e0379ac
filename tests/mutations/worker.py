"""Protections of append and of workers: what handlers do, and what becomes of those that do not end."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "drafts can be read again by a second run", "G1", "outbox/append.py",
        "again = isinstance(drafts, Collection) and not isinstance(drafts, Iterator | Mapping)", "again = True",
        "tests/outbox/test_append_once.py::test_what_is_made_in_front_of_a_transaction_that_runs_twice_is_appended",
    ),
    Mutation(
        "fields and headers are read once", "G1", "outbox/message.py",
        "if len(pairs) and not copy:", "if False:",
        "tests/outbox/test_append_once.py::test_fields_and_headers_are_there_at_each_run_or_refused",
    ),
]  # fmt: skip
