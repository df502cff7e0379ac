"""Mutations of what keeps an operator's command from doing more than was meant."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

ELSEWHERE = "tests/cli/verify/test_elsewhere.py::"
EMPTY = "tests/cli/test_empty_arguments.py::"
REPAIRS = "tests/outbox/test_repairs.py::"
REPLAYS = "tests/outbox/test_replay_streams.py::"
OWNERSHIP = "tests/relay/test_ownership.py::"

ABOUT_NOTHING = "outbox/operations/verify/about_nothing.py"
SUBJECTS = "outbox/operations/verify/subjects.py"
REPLAY = "outbox/operations/replay.py"

MUTATIONS = [
    # 1: documents that are somewhere else
    Mutation(
        "verify ends no message about a collection that is not there", "G1", ABOUT_NOTHING,
        "if not there.documents or not (", "if there.documents and not (",
        f"{ELSEWHERE}test_a_subject_in_a_mistyped_collection_ends_no_message",
    ),
    Mutation(
        "verify ends no message about a database that is not the application's", "G1", ABOUT_NOTHING,
        "if not there.documents or not (", "if there.documents and not (",
        f"{ELSEWHERE}test_the_application_s_database_that_is_not_set_in_this_shell_ends_no_message",
    ),
    Mutation(
        "verify ends no message about a collection of something else", "G1", ABOUT_NOTHING,
        "not (there.with_field or None in stream.subject.values)", "False",
        f"{ELSEWHERE}test_a_subject_in_a_mistyped_collection_ends_no_message",
    ),
    # 2: what is empty
    Mutation(
        "an empty argument is refused", "usage", "outbox/cli/program.py",
        "if not argument or (", "if argument and (",
        f"{EMPTY}test_a_command_does_not_act_on_everything",
    ),
    Mutation(
        "an option with nothing behind its = is refused", "usage", "outbox/cli/program.py",
        'argument.startswith("--") and argument.find("=") == len(argument) - 1', "False",
        f"{EMPTY}test_a_command_does_not_act_on_everything",
    ),
    Mutation(
        "a value that ends with = is no empty one", "usage", "outbox/cli/program.py",
        'argument.find("=") == len(argument) - 1', 'argument.endswith("=")',
        f"{EMPTY}test_a_value_may_end_as_those_in_base64_do",
    ),
    Mutation(
        "a selection by an empty name is refused", "usage", "outbox/operations/selection.py",
        'if text == "":', "if False:",
        "tests/outbox/test_replay.py::test_a_selection_that_cannot_be_meant_is_refused",
    ),
    Mutation(
        "dead messages of a stream without a name are none", "usage", "outbox/operations/dead.py",
        '{} if stream is None else {"stream": stream}', '{"stream": stream} if stream else {}',
        "tests/outbox/test_dead.py::test_an_empty_name_is_that_of_no_stream",
    ),
    # 3: what is repaired is looked at again
    Mutation(
        "a repair publishes no entry again whose message was dealt with since", "G2",
        "outbox/operations/verify/entries.py",
        "await _still_wanted(system, stream, messages[start : start + PAGE])",
        '[message["_id"] for message in messages[start : start + PAGE]]',
        f"{REPAIRS}test_a_message_whose_entry_is_gone_is_not_published_again_when_it_was_dealt_with_meanwhile",
    ),
    Mutation(
        "a repair publishes no message again that is completed by then", "G2", "outbox/operations/verify/entries.py",
        "Selection(ids=tuple(still), states=(State.PUBLISHED,))", "Selection(ids=tuple(still))",
        f"{REPAIRS}test_nor_when_it_is_dealt_with_after_the_last_look",
    ),
    Mutation(
        "a repair publishes no message again that was published since", "G2", "outbox/operations/verify/entries.py",
        "await replay(system.database, selection, before=system.now)", "await replay(system.database, selection)",
        f"{REPAIRS}test_nor_when_it_is_dealt_with_after_the_last_look",
    ),
    Mutation(
        "a repair replays no message that was replayed since", "G2", SUBJECTS,
        "who=audit.me(), states=(State.COMPLETED,))", "who=audit.me())",
        f"{REPAIRS}test_nor_when_another_operator_is_faster_after_the_last_look",
    ),
    Mutation(
        "a repair replays no message of a file that was settled, or has got another one, since", "G2", SUBJECTS,
        "async for _, completed in _forgotten(system, subject, streams, 1, REPAIRED):",
        "for _, completed in [((), ids)]:",
        f"{REPAIRS}test_a_file_that_waits_after_its_message_is_not_worked_on_twice",
    ),
    Mutation(
        "a repair replays no message of a file that an older one is on its way for", "G2", SUBJECTS,
        "async for _, completed in _forgotten(system, subject, streams, 1, REPAIRED):",
        "for _, completed in [((), ids)]:",
        f"{REPAIRS}test_nor_when_an_older_message_of_it_is_on_its_way_by_then",
    ),
    Mutation(
        "a repair queues no file that another program has queued since", "G2", SUBJECTS,
        "async for wanted, _ in _forgotten(system, subject, streams, QUEUED_TOGETHER, REPAIRED):",
        "for wanted, _ in [(ids, ())]:",
        "tests/cli/verify/test_subjects_in_streams.py::"
        "test_what_is_queued_between_a_finding_and_its_repair_is_left_alone",
    ),
    Mutation(
        "a repair completes no message whose document is back", "G1", ABOUT_NOTHING,
        "still = await _about_nothing(system, _NOT_SENT, ids)", "still = ids",
        f"{REPAIRS}test_a_message_about_nothing_does_not_end_when_its_document_is_back",
    ),
    Mutation(
        "a repair discards no dead message whose document is back", "G1", ABOUT_NOTHING,
        "still = await _about_nothing(system, [State.DEAD.value], ids)", "still = ids",
        f"{REPAIRS}test_a_message_about_nothing_does_not_end_when_its_document_is_back",
    ),
    # 4: what is said of it
    Mutation(
        "a finding that cannot be repaired has no result", "verify", "outbox/operations/verify/mending.py",
        "    if finding.repair is None:\n        return None\n", "    if finding.repair is None:\n        return 0\n",
        "tests/cli/verify/test_results.py::"
        "test_a_finding_that_cannot_be_repaired_does_not_show_the_result_of_another_of_its_check",
    ),
    # 5, 6, 7: streams
    Mutation(
        "a change as declared keeps the registered prefix", "G1", "outbox/operations/registration.py",
        "replace(stream, partitions=before.partitions, prefix=before.prefix)",
        "replace(stream, partitions=before.partitions)",
        "tests/cli/test_declarations.py::test_a_change_as_declared_keeps_the_prefix_that_is_registered",
    ),
    Mutation(
        "a replay leaves a removed stream alone", "G1", REPLAY,
        'return query | {"stream": {"$in": [name for name in names if name in registered]}}', "return query",
        f"{REPLAYS}test_a_replay_leaves_a_removed_stream_alone",
    ),
    Mutation(
        "a replay of one message leaves a removed stream alone", "G1", REPLAY,
        "message, await _query(database, selection, before or await server_time(database)))",
        "message, selection.query(before or await server_time(database)))",
        f"{REPLAYS}test_one_message_of_a_removed_stream_is_left_alone",
    ),
    Mutation(
        "a replay goes on beside a stream of a later version", "G1", REPLAY,
        "except (SchemaError, SettingsError):", "except ():",
        f"{REPLAYS}test_what_is_registered_may_not_be_known",
    ),
    Mutation(
        "a dry run says which streams would be taken over", "G8", "outbox/cli/init.py",
        "await _would_adopt(servers, streams) if dry_run", "[] if dry_run",
        f"{OWNERSHIP}test_a_dry_run_says_what_would_be_taken_over_and_changes_nothing",
    ),
    Mutation(
        "a dry run looks at streams that are only declared", "G8", "outbox/cli/init.py",
        "if registered else {}), **declared.families()}", "if registered else declared.families())}",
        f"{OWNERSHIP}test_a_dry_run_says_what_would_be_taken_over_and_changes_nothing",
    ),
    Mutation(
        "a dry run looks at streams where there is no outbox yet", "G8", "outbox/cli/init.py",
        "    except SchemaError:  # none yet", "    except ():  # none yet",
        f"{OWNERSHIP}test_a_dry_run_says_what_would_be_taken_over_and_changes_nothing",
    ),
    Mutation(
        "a dry run looks where the declared prefix leads", "G8", "outbox/cli/init.py",
        "prefix = declared.prefix or", "prefix =",
        f"{OWNERSHIP}test_a_dry_run_looks_where_the_prefix_that_is_declared_leads",
    ),
    # 8: settings
    Mutation(
        "groups that are no names are refused", "settings", "outbox/settings.py",
        " and all(isinstance(group, str) for group in groups)", "",
        "tests/outbox/test_any_declaration.py::test_groups_that_are_no_names_are_refused_where_they_stand",
    ),
]  # fmt: skip
