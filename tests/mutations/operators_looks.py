"""Mutations of what operators are shown: by verify, and beside what others wrote into the registry."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

REFUSED = "tests/cli/verify/test_groups_refused.py::"
SEARCHED = "tests/cli/verify/test_entries_searched.py::"
PARTITIONS = "tests/cli/verify/test_partitions.py::"
UNKNOWN = "tests/cli/test_streams_not_understood.py::"
UPKEEP = "tests/outbox/test_upkeep.py::"
UP = "tests/cli/test_up.py::"

ENTRIES = "outbox/operations/verify/entries.py"
GROUPS = "outbox/operations/verify/groups.py"
JUDGED = "outbox/operations/verify/partitions.py"

MUTATIONS = [
    # what Redis refuses to tell
    Mutation(
        "groups that may not be asked for are not taken for none", "G7", GROUPS,
        "if not not_there(error):", "if False:",
        f"{REFUSED}test_a_group_that_may_not_be_asked_for_is_not_called_well",
    ),
    Mutation(
        "a group that may not be asked for is not taken for none", "G1", ENTRIES,
        "if not not_there(error):", "if False:",
        f"{REFUSED}test_a_part_of_a_cluster_that_is_away",
    ),
    Mutation(
        "who may not run scripts learns that nothing was looked at", "G7", GROUPS,
        'return [not_checked(f"groups that hold up the trimming of {stream.name}", error)]', "return []",
        f"{REFUSED}test_who_may_not_run_scripts_is_told_what_is_not_looked_at",
    ),
    # how often a stream is searched
    Mutation(
        "verify searches a stream once for many pages", "G1", ENTRIES,
        "if len(acknowledged) + len(astray) >= SEARCHED:", "if acknowledged or astray:",
        f"{SEARCHED}test_holes_in_many_batches_are_searched_for_and_waited_for_once",
    ),
    Mutation(
        "verify keeps no more than so many in mind", "G1", ENTRIES,
        "if len(suspects.all()) >= KEPT:", "if False:",
        f"{SEARCHED}test_no_more_are_looked_for_when_many_are_found",
    ),
    # what others wrote
    Mutation(
        "a batch is a whole number", "G8", JUDGED,
        ', "$type": ["int", "long"]}', "}",
        f"{PARTITIONS}test_what_others_wrote_tells_nothing_of_batches",
    ),
    Mutation(
        "a batch is no number that no relay comes to", "G8", JUDGED,
        '"$lt": MAX_BATCH, ', "",
        f"{PARTITIONS}test_what_others_wrote_tells_nothing_of_batches",
    ),
    Mutation(
        "a message of others tells nothing of batches", "G8", JUDGED,
        "if is_ours(message)), None)", "if True), None)",
        f"{PARTITIONS}test_what_others_wrote_tells_nothing_of_batches",
    ),
    Mutation(
        "what a later version registered is not removed", "G1", "outbox/operations/registration.py",
        "if registry.has_revision(document):", "if False:",
        f"{UNKNOWN}test_what_a_later_version_registered_stays",
    ),
    Mutation(
        "nothing that waits is left behind when what others wrote is removed", "G1",
        "outbox/operations/registration.py",
        "[known.named(name)]", "[]",
        f"{UNKNOWN}test_what_others_wrote_is_removed_by_the_command_that_is_named",
    ),
    Mutation(
        "nothing of a sound stream goes with what others wrote", "G1", "outbox/operations/registration.py",
        'alone = {"$in": mine, "$nin": [*theirs, *', 'alone = {"$in": mine, "$nin": [*',
        f"{UNKNOWN}test_what_others_wrote_is_removed_without_the_leases_of_a_sound_stream",
    ),
    Mutation(
        "a stream without a revision is not removed while its priorities wait", "G1",
        "outbox/operations/registration.py",
        "[known.named(name)]", "[name]",
        f"{UNKNOWN}test_a_stream_that_lost_its_revision_is_not_removed_while_a_message_of_its_priority_waits",
    ),
    Mutation(
        "a stream that lost its revision is given one, and not removed", "G1", "outbox/streams/stored.py",
        "if only_revision:", "if False:",
        f"{UNKNOWN}test_a_stream_that_lost_its_revision_is_not_removed_while_a_message_of_its_priority_waits",
    ),
    Mutation(
        "streams that cannot be beside each other are named", "G8", "outbox/streams/registry.py",
        "        _refuse_collision(documents, streams)\n", "",
        f"{UNKNOWN}test_two_that_cannot_be_beside_each_other",
    ),
    Mutation(
        "one document that is not understood hides no other stream from upkeep", "G1", "outbox/operations/upkeep.py",
        "    registered = found.streams\n", "    registered = None if found.faults else found.streams\n",
        f"{UPKEEP}test_a_backlog_outlives_a_registry_that_is_not_understood",
    ),
    Mutation(
        "nothing is dead of a stream that a later version may have registered", "G1", "outbox/operations/upkeep.py",
        "[*numbers, *others]", "[*numbers]",
        f"{UPKEEP}test_a_backlog_outlives_a_registry_that_is_not_understood",
    ),
    Mutation(
        "what others called a stream stops no upkeep", "G8", "outbox/streams/known.py",
        "if one.name.isprintable() and ", "if ",
        f"{UPKEEP}test_a_backlog_outlives_a_registry_that_is_not_understood",
    ),
    Mutation(
        "verify looks beside what it does not understand", "G8", "outbox/cli/verify.py",
        "run(command, looks=True)", "run(command)",
        f"{UNKNOWN}test_verify_names_it_and_looks_at_the_rest",
    ),
    Mutation(
        "status looks beside what it does not understand", "G8", "outbox/cli/status.py",
        "run(_collect, looks=True)", "run(_collect)",
        f"{UNKNOWN}test_it_is_named_beside_what_is_well",
    ),
    Mutation(
        "streams are paused and resumed beside what cannot be understood", "G8", "outbox/operations/pausing.py",
        "    registered = found.streams\n", "    registered = None if found.faults else found.streams\n",
        f"{UNKNOWN}test_other_streams_are_paused_and_resumed",
    ),
    # what cannot be done is refused in a sentence
    Mutation(
        "a number that is none is refused", "G1", "outbox/cli/finite.py",
        "if value is not None and not isfinite(value):", "if False:",
        f"{UNKNOWN}test_a_number_that_cannot_be_counted_to_is_refused",
    ),
    Mutation(
        "a folder that cannot keep data is refused before anything is started", "G1", "outbox/cli/up.py",
        "    _refuse_unusable(data_dir)\n", "",
        f"{UP}test_a_folder_that_cannot_keep_data",
    ),
    Mutation(
        "a server that cannot keep its data says so", "G1", "outbox/embedded/server.py",
        "except OSError as error:  # such as a file in its place", "except ZeroDivisionError as error:  # such as",
        f"{UP}test_a_server_that_cannot_keep_its_data",
    ),
]  # fmt: skip
