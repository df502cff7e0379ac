"""Mutations of what a worker believes of an answer, and of what MongoDB refuses it."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_ADOPTION, _STANDING = "tests/worker/test_adoption.py::", "tests/worker/test_standing.py::"
_REFUSALS, _CONNECTIONS = "tests/worker/test_refusals.py::", "tests/outbox/test_connections.py::"

MUTATIONS = [
    Mutation(
        "an entry of others is adopted already when a majority has its message", "G1", "outbox/worker/adoption.py",
        "if not await _is_there(database, document):", "if False:",
        _ADOPTION + "test_an_adoption_that_is_rolled_back_is_made_again",
    ),
    Mutation(
        "what another index refuses is not adopted", "G1", "outbox/worker/adoption.py",
        "if not await _is_there(database, document):", "if False:",
        _ADOPTION + "test_what_another_index_refuses_is_not_adopted",
    ),
    Mutation(
        "a completion from before a replay is not believed", "G1", "outbox/worker/completion.py",
        "if not reached and standing not in (Standing.WANTED, Standing.UNMARKED):",
        "if not reached and standing in (Standing.SUPERSEDED, Standing.UNKNOWN):",
        _STANDING + "test_that_a_message_was_completed_before_it_was_replayed_is_not_believed",
    ),
    Mutation(
        "a member that has become a secondary is not read", "G5", "outbox/servers/connections.py",
        'if known.topology_type_name != "Single":', "if True:",
        _CONNECTIONS + "test_what_was_the_primary_is_read_no_more",
    ),
    Mutation(
        "a completion that MongoDB refuses at present costs no try", "G1", "outbox/worker/work.py",
        "if conflict is None and not _comes_of(handler, error):", "if False:",
        _REFUSALS + "test_a_completion_that_the_server_refuses_once_costs_no_try",
    ),
    Mutation(
        "nor does a right that is missing", "G1", "outbox/worker/work.py",
        "if conflict is None and not _comes_of(handler, error):", "if False:",
        _REFUSALS + "test_a_right_that_is_missing_to_read_subjects_is_waited_for",
    ),
    Mutation(
        "a handler without a session is not called again for its completion", "G6", "outbox/worker/work.py",
        "        hand.handled = True\n", "",
        _REFUSALS + "test_a_completion_that_the_server_refuses_once_costs_no_try",
    ),
    Mutation(
        "a message that MongoDB refuses for ever ends", "G1", "outbox/worker/completion.py",
        "        raise Failed(error) from error\n", "        raise\n",
        _REFUSALS + "test_what_the_server_has_against_the_message_itself_is_its_failure",
    ),
    Mutation(
        "a transaction that is too large for ever ends", "G1", "outbox/worker/work.py",
        "code in _OF_A_TRANSACTION)", "False)",
        _REFUSALS + "test_a_transaction_that_is_too_large_is_its_handlers_failure",
    ),
    Mutation(
        "a message that is refused fails none of those that are completed with it", "G1", "outbox/worker/completion.py",
        "except (Superseded, Unsettled, Failed) as error:", "except (Superseded, Unsettled) as error:",
        _REFUSALS + "test_of_messages_that_are_completed_together_the_one_that_is_refused_fails",
    ),
]  # fmt: skip
