"""Mutations of what keeps an operator's command to what was agreed to: also when it is interrupted or fails."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

INTERRUPTED = "tests/cli/test_interrupted.py::"
REPLAY_OUTAGES = "tests/cli/test_replay_outages.py::"
ADOPTED = "tests/outbox/test_replay_adopted.py::"
DEAD = "tests/cli/test_dead.py::"
IDS = "tests/cli/test_replay_ids.py::"
MEANWHILE = "tests/cli/test_dead_meanwhile.py::"

MUTATIONS = [
    # Ctrl-C
    Mutation(
        "Ctrl-C at a question ends the command", "usage", "outbox/cli/output.py",
        "signal.signal(signal.SIGINT, signal.default_int_handler)", "pass",
        f"{INTERRUPTED}test_ctrl_c_at_the_question_ends_the_command",
    ),
    Mutation(
        "an interruption that the driver loses ends what is done to dead messages", "usage", "outbox/cli/dead.py",
        "            stop_if_cancelled()\n", "",
        f"{INTERRUPTED}test_of_many_dead_messages_the_rest_stays",
    ),
    Mutation(
        "an interruption that the driver loses ends a replay before it is asked for", "usage", "outbox/cli/replay.py",
        "            stop_if_cancelled()\n", "",
        f"{INTERRUPTED}test_an_interruption_that_the_driver_loses_ends_the_command",
    ),
    Mutation(
        "an interruption that the driver loses ends the work on a replay", "usage", "outbox/cli/working.py",
        "    while job.open:\n        stop_if_cancelled()\n        try", "    while job.open:\n        try",
        f"{INTERRUPTED}test_of_a_replay_the_rest_is_left_to_the_relays",
    ),
    Mutation(
        "pages end for a cancelled task", "usage", "outbox/servers/paging.py",
        "            stop_if_cancelled()\n", "",
        f"{INTERRUPTED}test_pages_end_for_a_cancelled_task",
    ),
    # dead messages
    Mutation(
        "what dies while the question stands is not deleted", "usage", "outbox/cli/dead.py",
        "await server_time(servers.database) if all_ else None", "None",
        f"{MEANWHILE}test_what_dies_while_the_question_stands_is_not_deleted",
    ),
    Mutation(
        "one that was retried and died again meanwhile is not retried again", "usage", "outbox/operations/dead.py",
        "transitions.retry(message, _died(before))", "transitions.retry(message)",
        f"{MEANWHILE}test_one_that_is_retried_and_dies_again_meanwhile_stays[retry]",
    ),
    Mutation(
        "one that was retried and died again meanwhile is not deleted", "usage", "outbox/operations/dead.py",
        "transitions.discard(message, _died(before))", "transitions.discard(message)",
        f"{MEANWHILE}test_one_that_is_retried_and_dies_again_meanwhile_stays[discard]",
    ),
    # outages
    Mutation(
        "an outage halfway through a replay names its job", "usage", "outbox/cli/working.py",
        "    except Exception:\n        write_note(", "    except ValueError:\n        write_note(",
        f"{REPLAY_OUTAGES}test_an_outage_halfway_names_the_job_and_who_goes_on_with_it",
    ),
    # entries of other producers
    Mutation(
        "an adopted message has the time of its entry", "usage", "outbox/worker/adoption.py",
        "EntryId.parse(entry.id).time or datetime.now(UTC)", "datetime.now(UTC)",
        f"{ADOPTED}test_one_that_waited_for_a_worker_is_selected_by_when_its_entry_was_added",
    ),
    Mutation(
        "a message whose entry has no time is found by when it was adopted", "usage",
        "outbox/operations/selection.py",
        "if first is None:", "if True:",
        f"{ADOPTED}test_one_whose_entry_has_no_time_is_selected_by_when_it_was_adopted",
    ),
    Mutation(
        "what was completed lately is not pruned, however old its id", "G6", "outbox/operations/upkeep.py",
        '            "completed_at": {"$not": {"$gte": limit}},\n', "",
        f"{ADOPTED}test_one_as_old_as_its_entry_is_kept_while_it_was_completed_lately",
    ),
    # what was meant
    Mutation(
        "a mistyped stream is not taken for one without dead messages", "usage", "outbox/cli/dead.py",
        "    _ = servers.streams[stream]\n", "",
        f"{DEAD}test_a_stream_that_was_mistyped_is_refused",
    ),
    Mutation(
        "the next page of dead messages is of the same stream", "usage", "outbox/cli/dead.py",
        'write_more("dead list", page.before, stream=stream,', 'write_more("dead list", page.before,',
        f"{DEAD}test_the_next_page_is_of_the_same",
    ),
    Mutation(
        "ids that are not replayed are no success", "usage", "outbox/cli/replay.py",
        "    if missing:\n        raise", "    if False:\n        raise",
        f"{IDS}test_ids_that_are_not_selected_are_named_with_their_state",
    ),
    Mutation(
        "another rate for a replay at work is refused", "usage", "outbox/cli/replay.py",
        "if job.open and rate and rate != job.rate:", "if False:",
        f"{IDS}test_another_rate_for_a_job_at_work_is_refused",
    ),
]  # fmt: skip
