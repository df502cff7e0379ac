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
    Mutation(
        "an error that a handler catches is named after a few calls",
        "G1",
        "outbox/worker/work.py",
        "if ended > ENDED_MOST or (ended",
        "if False or (ended",
        "tests/worker/test_transactions.py::test_an_error_that_a_handler_catches_is_named_after_a_few_calls[one-False]",
    ),
    Mutation(
        "a handler whose transaction took too long is not called for as long again",
        "G1",
        "outbox/worker/work.py",
        "or (ended > 1 and time.monotonic() - began > LIFETIME_SECONDS)",
        "or (False)",
        "tests/worker/test_transactions.py::test_a_handler_whose_transaction_took_too_long_is_not_called_for_as_long_again",
    ),
    Mutation(
        "a conflict after long work is no failure",
        "G1",
        "outbox/worker/work.py",
        'deadline, ended = float("inf"), 0',
        "deadline, ended = time.monotonic() + CONFLICT_SECONDS, 0",
        "tests/worker/test_transactions.py::test_a_conflict_after_long_work_is_no_failure[False]",
    ),
    Mutation(
        "an async handler cannot close the client of all",
        "G1",
        "outbox/servers/connections.py",
        "_connect(_Lent, ",
        "_connect(_AtPrimary, ",
        "tests/worker/test_lent_clients.py::test_a_handler_that_closes_its_client_fails_alone[close-False]",
    ),
    Mutation(
        "a plain handler cannot close the client of all",
        "G1",
        "outbox/servers/connections.py",
        "_connect(_LentSync, ",
        "_connect(_AtPrimarySync, ",
        "tests/worker/test_lent_clients.py::test_a_handler_that_closes_its_client_fails_alone[with-True]",
    ),
    Mutation(
        "a count that raises changes nothing for messages",
        "G1",
        "outbox/worker/consumer.py",
        "count=count and harmless(count)",
        "count=count",
        "tests/worker/test_callbacks.py::test_a_count_that_raises_is_logged_once_and_changes_nothing[error0]",
    ),
    Mutation(
        "an order that raises does not stop the reading",
        "G1",
        "outbox/worker/reading.py",
        "            return turns()\n",
        "            raise\n",
        "tests/worker/test_callbacks.py::test_while_an_order_raises_streams_are_read_by_turns",
    ),
    Mutation(
        "a cancelled worker ends after its handlers",
        "G6",
        "outbox/worker/hand.py",
        "        except asyncio.CancelledError:\n            await self._end(work)\n",
        "        except asyncio.CancelledError:\n            work.cancel()\n",
        "tests/worker/test_cancelled.py::test_a_cancelled_worker_ends_after_its_handlers[one]",
    ),
    Mutation(
        "a cancelled worker ends after its batches",
        "G6",
        "outbox/worker/processing.py",
        "stack.push_async_callback(batches.cancel)",
        "pass",
        "tests/worker/test_cancelled.py::test_a_cancelled_worker_ends_after_its_handlers[many]",
    ),
]
