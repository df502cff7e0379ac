"""Protections of each one's turn: of jobs, of streams that Redis refuses, and of many registered streams."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

CLAIMING = "tests/outbox/test_claims.py::"
KNOWING = "tests/outbox/test_known_streams.py::"

CLAIMS = "outbox/operations/claims.py"
KNOWN = "outbox/streams/known.py"

MUTATIONS = [
    # jobs
    Mutation(
        "a job that was never set aside goes before those that fail slowly", "replay", CLAIMS,
        'sorted([(one["turn"], one["_id"])', 'sorted([(0, one["_id"])',
        f"{CLAIMING}test_however_slowly_the_older_ones_fail_a_later_one_has_its_turn",
    ),
    Mutation(
        "jobs that were set aside go on in the order in which they were", "replay", CLAIMS,
        '{"$toLong": "$not_before"}', "1",
        f"{CLAIMING}test_those_that_failed_have_their_turn_one_after_the_other",
    ),
    Mutation(
        "a job that waits by a clock that was set back is not the last one for as long", "replay", CLAIMS,
        ', {"$lte": ["$not_before", "$$NOW"]}]}', "]}",
        f"{CLAIMING}test_who_waits_by_a_clock_that_was_set_back_or_by_what_others_wrote_comes_before_those_set_aside",
    ),
    Mutation(
        "what others wrote as a job's time stops no claim", "replay", CLAIMS,
        '{"$eq": [{"$type": "$not_before"}, "date"]}, ', "",
        f"{CLAIMING}test_who_waits_by_a_clock_that_was_set_back_or_by_what_others_wrote_comes_before_those_set_aside",
    ),
    Mutation(
        "a time that no program can read stops no claim", "replay", CLAIMS,
        "found = await jobs.find_one_and_update(", "found = await database[JOBS].find_one_and_update(",
        f"{CLAIMING}test_a_time_that_no_program_can_read_stops_no_job",
    ),
    # streams
    Mutation(
        "a stream that Redis does not show is not taken for one that nobody reads", "operators",
        "outbox/delivery/depth.py",
        "        if not not_there(error):\n            raise\n", "        not_there(error)\n",
        "tests/outbox/test_stats.py::test_a_stream_that_may_not_be_looked_at_is_not_taken_for_one_that_nobody_reads",
    ),
    # registered streams
    Mutation(
        "beside one that is not understood, each of many streams is tried beside few", "operators", KNOWN,
        "sorted({number for name in takes for number in taken.get(name, ())})", "range(len(known))",
        f"{KNOWING}test_beside_one_that_is_not_understood_many_are_not_looked_at_many_times",
    ),
    Mutation(
        "two streams that would share a name are found without trying all", "G7", KNOWN,
        "*(member.name for member in members), ", "",
        f"{KNOWING}test_two_that_share_a_name_and_no_key",
    ),
    Mutation(
        "a stream that would write where a relay keeps another's state is found without trying all", "G7", KNOWN,
        "*(record_key(tag) for tag in beside if tag),", "",
        f"{KNOWING}test_two_that_meet_in_one_key_or_name",
    ),
]  # fmt: skip
