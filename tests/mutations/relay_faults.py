"""Mutations of what keeps a relay at work beside others, and whatever others write."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

LEASER, LEASE_SECONDS = "tests/relay/test_leaser.py", "tests/relay/test_lease_seconds.py"
SERVICE, RESCUER = "tests/relay/test_service.py", "tests/relay/test_rescuer.py"
DECLARATIONS, ODD = "tests/relay/test_declarations.py", "tests/relay/test_odd_values.py"

MUTATIONS = [
    Mutation(
        "a relay whose leases last longer may be silent for longer", "G1", "relay/outbox_relay/leaser.py",
        "(seconds, self._patience)", "(seconds)",
        f"{LEASE_SECONDS}::test_a_relay_whose_leases_last_longer_is_not_silent_before_its_own_time_is_over",
    ),
    Mutation(
        "a relay says how long its leases last", "G1", "outbox/protocol/leases.py",
        '        said |= {"lease_seconds": self._milliseconds / 1000}', "        pass",
        f"{LEASE_SECONDS}::test_a_relay_whose_leases_last_longer_is_not_silent_before_its_own_time_is_over",
    ),
    Mutation(
        "how long leases last is bounded, whatever a relay's record says", "G1", "outbox/protocol/leases.py",
        '{"$min": [MOST_LEASE_SECONDS, "$lease_seconds"]}', '"$lease_seconds"',
        f"{LEASE_SECONDS}::test_how_long_leases_last_is_bounded_whatever_a_record_says",
    ),
    Mutation(
        "a partition that is given up is no backlog any more", "G1", "relay/outbox_relay/daemon.py",
        "busy.leave(lease.partition)", "pass",
        "tests/relay/test_daemon.py::test_hints_come_again_after_partitions_were_given_up_in_a_backlog",
    ),
    Mutation(
        "an error of ours that may pass ends no relay", "G1", "relay/outbox_relay/service.py",
        "FINAL = (SchemaError, SettingsError, Unreachable, GaveUp)", "FINAL = SchemaError.__bases__",
        f"{RESCUER}::test_a_commit_whose_outcome_is_not_known_ends_nothing_and_the_next_look_decides",
    ),
    Mutation(
        "a commit whose outcome is not known is MongoDB's trouble", "operators", "relay/outbox_relay/outage.py",
        "if isinstance(error, CommitUnknown) and error.__cause__:", "if False:",
        f"{SERVICE}::test_a_commit_whose_outcome_is_not_known_is_mongodbs_trouble",
    ),
    Mutation(
        "a rescue knows its streams from the beginning of a pass", "G1", "relay/outbox_relay/rescuer.py",
        "for stream, partitions in by_stream.items():\n",
        "for name, partitions in [(one.name, its) for one, its in by_stream.items()]:\n"
        "            stream = self._streams[name]\n",
        f"{RESCUER}::test_a_stream_that_is_removed_meanwhile_ends_no_pass",
    ),
    Mutation(
        "a measure knows its streams from its beginning", "operators", "relay/outbox_relay/backlog.py",
        "for one in streams if one.name in undelivered", "for one in map(self._streams.__getitem__, undelivered) if 1",
        f"{RESCUER}::test_a_stream_that_is_removed_while_the_backlog_is_counted_ends_nothing",
    ),
    Mutation(
        "a relay outlives the removal of all that it drains", "G1", "relay/outbox_relay/declarations.py",
        "if {*self._only} & registered.families().keys() else", "if True else",
        f"{DECLARATIONS}::test_a_relay_outlives_the_removal_of_the_only_stream_that_it_drains",
    ),
    Mutation(
        "a relay says that it drains nothing", "operators", "relay/outbox_relay/advice.py",
        "        if not self._streams:\n", "        if False:\n",
        f"{DECLARATIONS}::test_a_relay_says_once_that_it_drains_nothing",
    ),
    Mutation(
        "timed jobs follow a clock that steps", "operators", "outbox/servers/timed_jobs.py",
        "        self._follow_the_clock()\n", "",
        "tests/outbox/test_timed_jobs.py::"
        "test_turns_go_on_after_a_step_of_the_clock_and_none_is_made_up_for",
    ),
    Mutation(
        "a message that nobody could mark is not published", "G1", "outbox/message/document.py",
        "if fence is not None and not (isinstance(fence, int) and fence < MAX_FENCE):", "if False:",
        f"{ODD}::test_a_message_that_nobody_could_mark_is_dead_and_the_rest_goes_on",
    ),
    Mutation(
        "what others write as a fence is lowered", "G1", "outbox/protocol/fences.py",
        '{"$set": {"fence": token}}, session=session, hint="_id_", bypass_document_validation=True,',
        '{"$set": {"other": token}}, session=session, hint="_id_", bypass_document_validation=True,',
        f"{ODD}::"
        "test_what_others_write_as_a_fence_when_a_message_is_on_its_way_keeps_nobody_from_marking_it",
    ),
    Mutation(
        "no lease goes above a fence that no relay has written", "G1", "outbox/protocol/fences.py",
        "return isinstance(fence, int) and fence < MAX_TAKEN", "return isinstance(fence, int)",
        f"{ODD}::"
        "test_what_others_write_as_a_fence_when_a_message_is_on_its_way_keeps_nobody_from_marking_it",
    ),
    Mutation(
        "no lease goes above a token in Redis that no relay has written", "G1", "outbox/protocol/lua/open.lua",
        "if there.token and #there.token > 13 and", "if false and",
        f"{ODD}::test_no_lease_goes_above_a_token_that_no_relay_has_written",
    ),
    Mutation(
        "a lease without a sound token is none", "G1", "outbox/protocol/records.py",
        '        {"$and": [{"$gte": ["$token", 0]}, {"$lt": ["$token", MAX_TOKEN]}]},\n', "",
        f"{LEASER}::test_a_lease_without_a_sound_token_is_none",
    ),
]  # fmt: skip
