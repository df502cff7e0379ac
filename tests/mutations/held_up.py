"""Protections of the relay against what would hold it up, and with it everybody else."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

BY_OTHERS = "tests/relay/test_published_by_others.py::test_it_does_not_hold_up_a_recovery"
LOCKED = "tests/relay/test_locked_messages.py::"
REST = "tests/relay/test_hints_rest.py::"

MUTATIONS = [
    Mutation(
        "a published message whose id cannot be asked for again is dead", "G5, G8", "outbox/protocol/losses.py",
        'if any(message.pop("id_type") != "objectId" for message in page):', "if False:",
        f"{BY_OTHERS}[bad text in an id]",
    ),
    Mutation(
        "a mark that several partitions share ends soon", "G8", "relay/outbox_relay/marks.py",
        "with shared(TOGETHER_SECONDS + slow):", "if True:",
        f"{LOCKED}test_other_streams_go_on_and_mongodb_is_not_blamed",
    ),
    Mutation(
        "MongoDB is not blamed for a message that is locked", "G8", "outbox/protocol/fences.py",
        "if not error.timeout or not await writes(messages):", "if True:",
        f"{LOCKED}test_other_streams_go_on_and_mongodb_is_not_blamed",
    ),
    Mutation(
        "what one locked message holds up is staged in pages", "G8", "outbox/operations/upkeep.py",
        "for identity in page:\n", "for identity in page[:1]:\n",
        f"{LOCKED}test_other_scheduled_messages_become_pending",
    ),
    Mutation(
        "a relay leaves alone what it has loaded", "G8", "relay/outbox_relay/cli.py",
        "    garbage.collect_seldom()\n", "",
        "tests/outbox/test_garbage.py::test_a_program_of_ours_leaves_alone_what_it_has_loaded[relay]",
    ),
    Mutation(
        "the API leaves alone what it has loaded", "G8", "api/outbox_api/cli.py",
        "    garbage.collect_seldom()\n", "",
        "tests/outbox/test_garbage.py::test_a_program_of_ours_leaves_alone_what_it_has_loaded[api]",
    ),
    Mutation(
        "a backlog between two passes closes the change stream", "G8", "relay/outbox_relay/wakeup.py",
        "if self._changes is not None:  # the", "if False:  # the",
        f"{REST}test_a_backlog_that_begins_between_two_passes_closes_the_stream",
    ),
    Mutation(
        "a partition that waits is no backlog", "G8", "relay/outbox_relay/busy.py",
        "elif partition not in self._held_up:", "elif True:",
        f"{REST}test_a_partition_that_waits_is_no_backlog_until_nothing_is_left",
    ),
    Mutation(
        "a checkpoint without its messages is as good as lost", "G4", "outbox/protocol/lua/open.lua",
        "if not there.messages and there.batch and there.batch ~= '0' then return false end", "",
        "tests/relay/test_lost_fields.py::test_after_a_crash_what_was_published_and_not_marked_is_known[messages]",
    ),
    Mutation(
        "a full stream of which Redis has lost count leaves it time for others", "G8", "outbox/protocol/room.py",
        "if counted and not there:", "if False:",
        "tests/relay/test_lost_count.py::test_a_full_stream_leaves_redis_time_for_others",
    ),
    Mutation(
        "a doubt about all partitions is one for each reply, as late as the last change", "G1",
        "relay/outbox_relay/tail.py",
        "anywhere = max((", "anywhere = min((",
        "tests/relay/test_inbox.py::"
        "test_many_changes_of_nobody_knows_where_are_one_doubt_for_each_partition",
    ),
    Mutation(
        "what a server refuses is not reported as a server that is away", "usage", "relay/outbox_relay/once.py",
        "if not cause.passes:", "if False:",
        "tests/relay/test_once.py::test_it_says_why_it_gives_up",
    ),
    Mutation(
        "why MongoDB refuses is not hidden by a driver that waits", "usage", "relay/outbox_relay/outage.py",
        "if self._logged and POOL_PAUSED in str(error):", "if False:",
        "tests/relay/test_once.py::test_a_driver_that_waits_after_a_refusal_does_not_hide_it",
    ),
    Mutation(
        "a start that MongoDB refuses is not given up as one without an answer", "usage", "relay/outbox_relay/once.py",
        "    why = outages.why()", "    why = {}",
        "tests/relay/test_once.py::test_a_start_that_is_given_up_says_why",
    ),
]  # fmt: skip
