"""Mutations of what protects a worker, and everybody's messages, from what a handler or a callback does."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "an async handler can neither commit its transaction nor begin another",
        "G6",
        "outbox/worker/work.py",
        "with held_open(session):",
        "if session:",
        "tests/worker/test_transactions.py::"
        "test_a_handler_that_begins_again_has_failed_and_nothing_of_it_lasts[commit_transaction-False]",
    ),
    Mutation(
        "a plain handler can neither commit its transaction nor begin another",
        "G6",
        "outbox/worker/threads.py",
        "with held_open(session):",
        "if session:",
        "tests/worker/test_transactions.py::"
        "test_a_handler_that_begins_again_has_failed_and_nothing_of_it_lasts[commit_transaction-True]",
    ),
]
