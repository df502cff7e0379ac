"""Protections of what a repair must not take for gone, for its own, or for done."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

AFTER = "tests/cli/verify/test_after_repairs.py::"
DOUBTFUL = "tests/cli/verify/test_doubtful_ids.py::"
OTHERS = "tests/cli/test_files_of_others.py::"

ABOUT_NOTHING = "outbox/operations/verify/about_nothing.py"
MENDING = "outbox/operations/verify/mending.py"
SUBJECTS = "outbox/operations/verify/subjects.py"
UNNAMED = "outbox/message/unnamed.py"

MUTATIONS = [
    # documents that are there
    Mutation(
        "what is before the types that keys name is looked at", "G1", UNNAMED,
        "        yield low, begin\n", "",
        f"{DOUBTFUL}test_one_document_among_very_many_of_another_type",
    ),
    Mutation(
        "a binary id of another subtype is none that a key names", "G1", UNNAMED,
        "found += await _of_other_subtypes(collection)", "pass",
        f"{DOUBTFUL}test_binary_of_another_subtype",
    ),
    Mutation(
        "a UUID of an older form is none that a key names", "G1", UNNAMED,
        "[(Binary(bytes(16), 4), Binary(bytes(16), 5))]", "[(_BINARY, _OBJECT_IDS)]",
        f"{DOUBTFUL}test_binary_of_another_subtype",
    ),
    Mutation(
        "a key that append has read is a key all the same", "G1", ABOUT_NOTHING,
        'bool(message["subject"] == named_by_key(stream, str(message.get("key"))))', "False",
        f"{DOUBTFUL}test_a_key_that_append_has_read_is_a_key_all_the_same",
    ),
    Mutation(
        "an id that a key could be read as in another way may be the document's", "G1", ABOUT_NOTHING,
        "ids = [*ids, *readings(str(message.get(\"key\")))]", "pass",
        f"{DOUBTFUL}test_an_id_that_is_read_otherwise",
    ),
    Mutation(
        "an id may be stored as other programs write it", "G1", ABOUT_NOTHING,
        "[other for id_ in ids for other in _alike(id_)]", "ids",
        f"{DOUBTFUL}test_an_id_that_is_read_otherwise",
    ),
    Mutation(
        "a message that names no id is not about something that is gone", "G1", ABOUT_NOTHING,
        "[each for each in page if ids_of(subject, each)]", "page",
        f"{DOUBTFUL}test_an_id_that_is_read_otherwise",
    ),
    Mutation(
        "what MongoDB takes for the same id is the same", "G1", ABOUT_NOTHING,
        "if not asked or not await is_there(id_ for ids in asked.values() for id_ in ids):", "if True:",
        f"{DOUBTFUL}test_a_collection_that_compares_texts_in_its_own_way",
    ),
    Mutation(
        "a view is not taken for all there is", "G1", ABOUT_NOTHING,
        "        if types is None:\n            continue\n", "",
        f"{DOUBTFUL}test_a_view_may_hide_what_is_there",
    ),
    # files of another outbox
    Mutation(
        "a repair gives the files of another outbox no message", "G8", SUBJECTS,
        " and await applications.has_files(system.database)", "",
        f"{OTHERS}test_a_repair_gives_them_none",
    ),
    Mutation(
        "enqueue gives the files of another outbox no message", "G8", "api/outbox_api/commands/enqueue.py",
        "        await applications.check_files(servers.database)\n", "",
        f"{OTHERS}test_nor_does_a_command",
    ),
    Mutation(
        "migrate gives the files of another outbox no message", "G8", "api/outbox_api/commands/migrate.py",
        "        await applications.check_files(servers.database)\n", "",
        f"{OTHERS}test_nor_does_a_command",
    ),
    # what is said after it
    Mutation(
        "what MongoDB refuses to repair keeps no other repair", "verify", MENDING,
        "        return str(causes.explain(error))\n", "        raise\n",
        f"{AFTER}test_what_mongodb_refuses_to_repair_hides_nothing_and_keeps_no_other_repair",
    ),
    Mutation(
        "when a server goes away what was done is shown", "verify", "outbox/cli/verify.py",
        "if any(results.values()):", "if False:",
        f"{AFTER}test_when_a_server_goes_away_what_is_found_and_done_is_shown",
    ),
    Mutation(
        "what a repair makes dead is left", "verify", MENDING,
        '    "stray": _DEAD,\n', "",
        f"{AFTER}test_what_a_repair_makes_dead_is_left",
    ),
    Mutation(
        "what a repair discards is not left", "verify", MENDING,
        '    "dead-without-file": _DEAD,\n', "",
        f"{AFTER}test_what_a_repair_discards_is_not_left",
    ),
    Mutation(
        "a file that cannot be queued keeps no others", "verify", SUBJECTS,
        "if len(wanted) == 1:", "if True:",
        f"{AFTER}test_a_file_that_cannot_be_queued_keeps_no_others",
    ),
    Mutation(
        "a folder that is no text keeps no file from being queued", "G1", "api/outbox_api/uploads/records.py",
        "None if folder is None else str(folder)", "folder",
        f"{AFTER}test_a_file_whose_folder_is_no_text",
    ),
    Mutation(
        "a stream that was registered again is not taken for a loss", "verify",
        "outbox/operations/verify/partitions.py",
        '    if lease["batch"]:\n', "    if True:\n",
        f"{AFTER}test_a_stream_that_was_removed_and_registered_again",
    ),
]  # fmt: skip
