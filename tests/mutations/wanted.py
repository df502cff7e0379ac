"""Mutations of what is still wanted, of what is held, and of what a rescue decides."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

SETTLED = "tests/relay/test_settled.py"
HELD = "tests/outbox/test_held.py"

MUTATIONS = [
    Mutation(
        "a reparse completes what was settled before it",
        "G5",
        "api/outbox_api/uploads/reparse.py",
        "await complete_settled(database, outbox.streams, FILES, file_ids, session)",
        "pass",
        f"{SETTLED}::test_files_that_are_parsed_again_right_before_a_loss_come_once",
    ),
    Mutation(
        "a retry completes what was settled before it",
        "G5",
        "outbox/operations/dead.py",
        "await complete_settled(database, streams, subject.collection, ids, session)",
        "pass",
        f"{SETTLED}::test_a_retry_does_not_bring_back_an_older_message_of_its_file",
    ),
    Mutation(
        "a subject is looked at as it was before a newer message",
        "G5",
        "outbox/protocol/settled.py",
        'await _settled_before(database, subject, [m for m in messages if m["_id"] not in done], session)',
        "set()",
        f"{SETTLED}::test_another_application_appends_a_newer_message_right_before_a_loss",
    ),
    Mutation(
        "what was not committed yet was not settled",
        "G5",
        "outbox/protocol/settled.py",
        'if m["_id"] in left and m["_id"] in retried and m.get("retried") == retried[m["_id"]]',
        'if m["_id"] in left and m.get("retried") == retried.get(m["_id"])',
        f"{SETTLED}::test_a_message_that_was_not_committed_yet_is_not_settled_by_what_was_before",
    ),
    Mutation(
        "a retry makes a message wanted again",
        "G5",
        "outbox/protocol/settled.py",
        ' and m.get("retried") == retried[m["_id"]]',
        "",
        f"{SETTLED}::test_a_dead_message_that_is_retried_is_wanted",
    ),
    Mutation(
        "a subject that is not there settles nothing",
        "G5",
        "outbox/message/subjects.py",
        "    return left\n",
        "    there = await that_are_there(read, subject, messages)\n"
        '    return left | {m["_id"] for m in messages} - there\n',
        f"{SETTLED}::test_a_subject_that_is_not_there_says_nothing",
    ),
    Mutation(
        "what a live worker has forgotten is rescued",
        "G1",
        "outbox/worker/rescue.py",
        "not holder.ours or holder.idle_seconds",
        "holder.idle_seconds",
        f"{HELD}::test_what_a_live_worker_has_forgotten_is_published_again",
    ),
    Mutation(
        "entries of our live workers left alone by a rescue",
        "G4",
        "outbox/worker/rescue.py",
        "holder.pending and (not holder.ours or holder.idle_seconds > stream.rescue_seconds)",
        "holder.pending",
        f"{HELD}::test_a_worker_of_ours_says_itself_what_it_works_on",
    ),
    Mutation(
        "an entry whose message is gone is taken away",
        "G7",
        "outbox/worker/rescue.py",
        "if standing in (Standing.UNMARKED, Standing.WANTED):",
        "if True:",
        f"{HELD}::test_an_entry_whose_message_is_gone_does_not_hold_up_trimming",
    ),
    Mutation(
        "an entry that is not marked yet is left alone",
        "G4",
        "outbox/worker/rescue.py",
        "if standing in (Standing.UNMARKED, Standing.WANTED):",
        "if False:",
        f"{HELD}::test_an_entry_that_is_not_marked_yet_is_left_to_the_relay",
    ),
    Mutation(
        "a page of a shared search counts only for the checkpoint that was opened",
        "G5",
        "relay/outbox_relay/surveys.py",
        "(now.at, now.marker) != (seeker.opened.at, seeker.opened.marker)",
        "False",
        "tests/relay/test_surveys.py::test_a_page_counts_only_while_the_checkpoint_is_the_one_that_was_opened",
    ),
    Mutation(
        "one search for all partitions that wait",
        "G5",
        "relay/outbox_relay/surveys.py",
        "self._waiting.pop(stream, []) if not seeker.gone]",
        "[self._waiting[stream].pop(0)] if not seeker.gone] if self._waiting[stream] else []",
        "tests/faults/test_surveys.py::test_a_stream_is_searched_once_for_all_partitions_that_lost_their_checkpoint",
    ),
    Mutation(
        "a message about a deleted file is done once it is acknowledged",
        "G1",
        "outbox/delivery/vanished.py",
        'or (message["_id"] in gone and acknowledged)',
        "",
        "tests/outbox/test_rescue.py::test_an_acknowledgement_settles_what_is_about_a_file_that_was_deleted",
    ),
]
