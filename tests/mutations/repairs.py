"""Protections of what a repair must leave alone, and of what it says of the rest."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

STREAMS = "tests/cli/verify/test_subjects_in_streams.py::"
MANY = "tests/cli/verify/test_subjects_many.py::"
REPAIRING = "tests/cli/verify/test_repairing.py::"

FOREIGN = "outbox/delivery/foreign.py"
MENDING = "outbox/operations/verify/mending.py"
SUBJECTS = "outbox/operations/verify/subjects.py"

MUTATIONS = [
    # what another program has queued
    Mutation(
        "what an entry of another program waits for is not forgotten", "G4", SUBJECTS,
        "await _without_entry(system, subject, streams, suspects)", "suspects",
        f"{STREAMS}test_what_an_entry_waits_for_is_not_queued_once_more",
    ),
    Mutation(
        "what is in a worker's hands waits as well", "G4", FOREIGN,
        "    if group is None:\n        return\n", "    return\n",
        f"{STREAMS}test_what_an_entry_waits_for_is_not_queued_once_more",
    ),
    Mutation(
        "what a worker has acknowledged waits no longer", "G1", FOREIGN,
        "if entry.id in ids", "",
        f"{STREAMS}test_more_is_in_hand_than_is_asked_for_at_once",
    ),
    Mutation(
        "an entry that spells an id in another way is about it", "G4", SUBJECTS,
        '{key, *map(as_text, ids_of(subject, {"key": key}))}', "{key}",
        f"{STREAMS}test_an_entry_may_spell_an_id_in_another_way",
    ),
    Mutation(
        "a file that got a message after the first look is not queued by a repair", "G4", SUBJECTS,
        "yield await _look(system, subject, streams, silent[start : start + together])",
        "yield silent[start : start + together], []",
        f"{STREAMS}test_what_is_taken_up_while_the_stream_is_read_is_left_alone",
    ),
    # what is left
    Mutation(
        "after the schema is repaired the other checks are made", "verify", MENDING,
        "if any(one.finding.check in NOTHING_MORE for one in everything)", "if False",
        f"{REPAIRING}test_after_the_schema_is_repaired_the_other_checks_are_made",
    ),
    Mutation(
        "what is repaired in part is looked at again", "verify", MENDING,
        "repaired < finding.count or ", "",
        f"{REPAIRING}test_what_a_repair_cannot_change_is_left",
    ),
    Mutation(
        "where a finding keeps no more in mind it is looked at again", "verify", MENDING,
        " or finding.count >= KEPT", "",
        f"{REPAIRING}test_what_one_repair_is_too_small_for_is_left",
    ),
    Mutation(
        "a repair founds no second outbox", "G8", "outbox/operations/verify/setup.py",
        "repair=None if nothing else ensure", "repair=ensure",
        f"{REPAIRING}test_a_repair_founds_no_second_outbox",
    ),
    # however many messages there are
    Mutation(
        "of many messages about one file MongoDB sends one answer", "memory", "outbox/message/summaries.py",
        '"_id": _NAME,', '"_id": {**_NAME, "each": "$_id"},',
        f"{MANY}test_a_file_with_many_messages",
    ),
    Mutation(
        "the last of many messages is the one that is replayed", "G2", "outbox/message/summaries.py",
        '{"$sort": {"last": -1}}', '{"$sort": {"last": 1}}',
        f"{MANY}test_a_file_with_many_messages",
    ),
    Mutation(
        "a file with an open message is not taken for one whose messages are completed", "G4",
        "outbox/message/summaries.py",
        '{"$max": {"$in": ["$state", _OPEN]}}', '{"$min": {"$in": ["$state", _OPEN]}}',
        "tests/outbox/test_repairs.py::test_nor_when_an_older_message_of_it_is_on_its_way_by_then",
    ),
]  # fmt: skip
