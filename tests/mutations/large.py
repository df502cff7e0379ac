"""Protections against what is too large or too much: one message without room, many ids, many dead messages."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

LOST = "tests/relay/test_too_large.py::"
LARGE = "tests/outbox/test_too_large.py::"
FEW = "tests/outbox/test_claims.py::"
REPLAY = "tests/cli/test_replay.py::"
DEAD = "tests/cli/test_dead.py::"

LOSSES = "outbox/protocol/losses.py"
CLAIMS = "outbox/operations/claims.py"

MUTATIONS = [
    Mutation(
        "a lost message without room stops no recovery", "G1, G5", LOSSES,
        'if any(message.pop("full") for message in page):', "if False:",
        f"{LOST}test_the_others_come_again_and_it_is_dead_with_a_reason",
    ),
    Mutation(
        "a settled message without room stops no recovery", "G1, G5", LOSSES,
        'if any(message.pop("full") for message in page):', "if False:",
        f"{LOST}test_the_others_are_completed_when_they_are_settled",
    ),
    Mutation(
        "a message without room that survived stops no recovery", "G1, G5", LOSSES,
        "if error.code in TOO_LARGE:", "if False:",
        f"{LOST}test_those_that_survived_are_kept",
    ),
    Mutation(
        "a message without room is not fenced", "G1", "outbox/protocol/fences.py",
        ', "$expr": {"$not": [FULL]}', "",
        f"{LOST}test_the_others_come_again_and_it_is_dead_with_a_reason",
    ),
    Mutation(
        "a replay leaves out a message without room", "replay", "outbox/operations/replay.py",
        '{"_id": 1, "full": FULL}', '{"_id": 1, "full": {"$lt": [1, 0]}}',
        f"{LARGE}test_a_job_leaves_it_out_and_the_audit_names_it",
    ),
    Mutation(
        "a message without room that is replayed alone is named", "replay", "outbox/operations/replay.py",
        "with naming(message):", "if True:",
        f"{LARGE}test_a_replay_in_one_call_leaves_it_out",
    ),
    Mutation(
        "a replay that left messages out is not done", "usage", "outbox/cli/replay.py",
        "if left_out:", "if False:",
        f"{REPLAY}test_one_that_is_too_large_is_left_out_and_told",
    ),
    Mutation(
        "a dead message without room does not stop the rest", "G1", "outbox/operations/dead.py",
        "with naming(message):", "if True:",
        f"{DEAD}test_one_that_is_too_large_to_be_retried_is_named_and_the_rest_are_retried",
    ),
    Mutation(
        "a job that failed is given back", "replay", "relay/outbox_relay/replays.py",
        "            await jobs.set_aside(self._database, job, self._owner, error)\n", "",
        f"{LARGE}test_a_job_that_always_fails_lets_the_others_go_first",
    ),
    Mutation(
        "a job that failed lets the others go first", "replay", CLAIMS,
        '"$or": free, **ready}', '"$or": free}',
        f"{LARGE}test_a_job_that_always_fails_lets_the_others_go_first",
    ),
    Mutation(
        "a job goes on at once after an outage", "replay", CLAIMS,
        "if isinstance(error, ConnectionFailure) and", "if False and",
        "tests/relay/test_replays.py::test_after_an_error_it_goes_on_where_the_job_is",
    ),
    Mutation(
        "a job that meets what seems to pass lets the others go first", "replay", CLAIMS,
        "if isinstance(error, ConnectionFailure) and not isinstance(error, NetworkTimeout):",
        "if classify(error) is Trouble.OUTAGE:",
        f"{FEW}test_one_that_always_meets_an_outage_lets_the_others_go_first",
    ),
    Mutation(
        "a job that takes longer than a client waits lets the others go first", "replay", CLAIMS,
        " and not isinstance(error, NetworkTimeout):", ":",
        f"{FEW}test_one_that_always_meets_an_outage_lets_the_others_go_first",
    ),
    Mutation(
        "a job steps aside for what seems to pass for a moment only", "replay", CLAIMS,
        "seconds = MOMENT_SECONDS if classify(error) is Trouble.OUTAGE else LEASE_SECONDS", "seconds = LEASE_SECONDS",
        f"{FEW}test_what_seems_to_pass_costs_a_job_a_moment",
    ),
    Mutation(
        "why a job failed is told in one line", "replay", CLAIMS,
        "detail(error)}", "str(error)}",
        f"{FEW}test_why_it_failed_is_told_without_what_the_driver_knows_of_the_servers",
    ),
    Mutation(
        "a job does not wait for a clock that was set back", "replay", CLAIMS,
        ', {"$gt": [moment, _in(2 * LEASE_SECONDS)]}', "",
        f"{FEW}test_a_clock_that_was_set_back_does_not_hold_a_job",
    ),
    Mutation(
        "jobs are not all read for a claim", "G7", CLAIMS,
        'jobs.find(query, {"turn": _TURN})', 'jobs.find(query, {"turn": _TURN, "selection": 1})',
        f"{FEW}test_jobs_of_many_ids_are_not_all_read_for_a_claim",
    ),
    Mutation(
        "dead messages are read a few at a time", "G7", "outbox/operations/dead.py",
        ", batch_size=BATCH", "",
        f"{FEW}test_dead_messages_come_a_few_at_a_time",
    ),
    Mutation(
        "few errors of many dead messages are kept", "G7", "outbox/cli/dead.py",
        "if len(errors) < KEPT:", "if True:",
        f"{DEAD}test_errors_beyond_a_number_are_counted_and_not_kept",
    ),
    Mutation(
        "a named request for something else is refused", "usage", "outbox/cli/replay.py",
        "if _fixed(job.selection, moving) != _fixed(selection, moving):", "if False:",
        f"{REPLAY}test_a_request_of_the_same_name_for_something_else_is_refused",
    ),
    Mutation(
        "a named request may say how long ago", "usage", "outbox/cli/replay.py",
        "name in moving or (", "(",
        f"{REPLAY}test_times_that_move_on_do_not_make_a_request_another_one",
    ),
    Mutation(
        "a named request may be typed in another order", "usage", "outbox/cli/replay.py",
        "sorted(set(v))", "v",
        f"{REPLAY}test_the_same_values_in_another_order_are_the_same_request",
    ),
    Mutation(
        "a replay that somebody cancelled is not done", "usage", "outbox/cli/replay.py",
        'raise Unfinished(f"job {job.id} was cancelled', 'write_note(f"job {job.id} was cancelled',
        f"{REPLAY}test_one_that_somebody_cancels_is_not_done",
    ),
]  # fmt: skip
