"""Protections of repairs that others run beside, and of one that has more to do than a finding keeps in mind."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

NOTHING = "tests/cli/verify/test_about_nothing.py::"
TWICE = "tests/outbox/test_repaired_twice.py::"

REPARSE = "api/outbox_api/uploads/reparse.py"
ABOUT_NOTHING = "outbox/operations/verify/about_nothing.py"
SUBJECTS = "outbox/operations/verify/subjects.py"

MUTATIONS = [
    # at the same moment
    Mutation(
        "of two repairs at once one queues the file", "G4", SUBJECTS,
        ", still=still)", ")",
        f"{TWICE}test_of_two_repairs_at_once_each_file_is_queued_by_one",
    ),
    Mutation(
        "a repair looks for a message in the transaction that queues the file", "G4", SUBJECTS,
        "await _without_open(system, subject, ids, streams, session)",
        "await _without_open(system, subject, ids, streams, None)",
        f"{TWICE}test_a_file_that_gets_a_message_at_the_same_moment_is_not_queued_by_a_repair",
    ),
    Mutation(
        "a repair reads in one transaction what it decides by, and queues", "G4", SUBJECTS,
        "await _look(system, subject, streams, wanted, session)", "await _look(system, subject, streams, wanted)",
        f"{TWICE}test_a_file_that_gets_a_message_at_the_same_moment_is_not_queued_by_a_repair",
    ),
    Mutation(
        "a repair queues no file that is settled at the same moment", "G4", SUBJECTS,
        ", still=still)", ")",
        f"{TWICE}test_nor_is_one_that_is_settled_or_deleted_then",
    ),
    Mutation(
        "a file that another operator has queued is not counted", "verify", REPARSE,
        "        messages.clear()  # of a run before, which had no effect\n", "",
        f"{TWICE}test_what_a_transaction_has_queued_that_did_not_happen_is_not_counted",
    ),
    # more than a finding keeps in mind
    Mutation(
        "one repair deals with all messages about nothing", "verify", ABOUT_NOTHING,
        "    if len(found) >= KEPT:\n        async for", "    if False:\n        async for",
        f"{NOTHING}test_all_that_are_not_sent_yet_are_completed",
    ),
    Mutation(
        "all messages about nothing are counted", "verify", ABOUT_NOTHING,
        "done += await complete_unsent(system, still)", "done = await complete_unsent(system, still)",
        f"{NOTHING}test_all_that_are_not_sent_yet_are_completed",
    ),
    Mutation(
        "a message about nothing that is too large for a change keeps no others", "verify",
        "outbox/operations/verify/unsent.py",
        ', "$expr": {"$not": [FULL]}', "",
        f"{NOTHING}test_one_without_room_for_a_change_is_left_and_keeps_no_others",
    ),
    Mutation(
        "a dead message that another operator discards keeps no others", "verify", ABOUT_NOTHING,
        "with suppress(NoSuchMessage, NotDead):", "with suppress():",
        f"{NOTHING}test_one_that_another_operator_discards_is_not_counted_and_keeps_no_others",
    ),
]  # fmt: skip
