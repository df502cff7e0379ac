"""Mutations of what workers share: a stream with groups of others, a name with replicas, a host that stands still."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

GROUPS = "tests/worker/test_other_groups.py"
NAME = "tests/worker/test_one_name.py"
PAUSED = "tests/worker/test_paused_meanwhile.py"

MUTATIONS = [
    Mutation(
        "what a worker is done with stays for a group that has not read it",
        "G7",
        "outbox/protocol/lua/stream.lua",
        "        if earlier(group['last-delivered-id'], id) then return true end\n",
        "",
        f"{GROUPS}::test_another_group_gets_the_entries_of_messages_that_have_died_and_then_they_are_trimmed",
    ),
    Mutation(
        "what a worker is done with stays for a group that works on it",
        "G7",
        "outbox/protocol/lua/stream.lua",
        "        if held.err or #held > 0 then return true end\n",
        "",
        f"{GROUPS}::test_what_another_group_works_on_keeps_its_content",
    ),
    Mutation(
        "nothing is removed where nobody may ask which groups there are",
        "G7",
        "outbox/protocol/lua/stream.lua",
        "  if groups.err then return end\n",
        "  if groups.err then groups = {} end\n",
        f"{GROUPS}::test_where_nobody_may_ask_about_groups_nothing_is_removed",
    ),
    Mutation(
        "an entry whose message is gone stays for a group that has not read it",
        "G7",
        "outbox/protocol/lua/acknowledge.lua",
        "  remove_unneeded(KEYS[1], ARGV[2], {ARGV[3]})\n",
        "  redis.call('XDEL', KEYS[1], ARGV[3])\n",
        f"{GROUPS}::test_another_group_gets_an_entry_whose_message_is_gone",
    ),
    Mutation(
        "the entry of an earlier attempt does not hide that the last one is lost",
        "G5",
        "outbox/operations/verify/entries.py",
        "if entry.sent and entry.sent.attempt >= sought.get(id_ := str(entry.sent.id), entry.sent.attempt + 1):",
        "if entry.sent and (id_ := str(entry.sent.id)) in sought:",
        "tests/cli/verify/test_entries.py::test_the_entry_of_an_earlier_attempt_does_not_hide_a_lost_one",
    ),
    Mutation(
        "a worker is not killed for a silence in which its second process stood still as well",
        "G1",
        "outbox/worker/pulse_program.py",
        "self._alive_at = min(now, self._alive_at + max(0.0, now - self._looked_at - TICK_SECONDS))",
        "pass",
        "tests/worker/test_pulse.py::test_a_worker_survives_that_its_host_stands_still_for_longer_than_a_handler_may_take",
    ),
    Mutation(
        "the first worker of a name asks for a second one before it takes over what is held under it",
        "G6",
        "outbox/worker/claims.py",
        "            await self._presence.look()\n",
        "            pass\n",
        f"{NAME}::test_the_first_one_leaves_the_second_one_what_it_holds_after_a_lost_connection",
    ),
    Mutation(
        "what is given to a second worker right after the first has asked is not taken over",
        "G6",
        "outbox/worker/claims.py",
        "own_idle = time.monotonic() - looked_at if at_once",
        "own_idle = 0.0 if at_once",
        f"{NAME}::test_what_the_second_one_is_given_after_the_first_has_asked_is_left_to_it",
    ),
    Mutation(
        "a worker is on record before it looks for what to take over",
        "G6",
        "outbox/worker/processing.py",
        "if await self.presence.begin() and not self.presence.shared:",
        "if False:",
        f"{NAME}::test_one_that_starts_finds_one_that_has_just_started",
    ),
    Mutation(
        "whoever writes a record sees who has written it before",
        "G6",
        "outbox/worker/presence.py",
        "        self._learn(found)\n",
        "",
        f"{NAME}::test_of_two_that_start_at_the_same_time_both_find_the_other",
    ),
    Mutation(
        "a batch that waits while a pause comes is not begun",
        "G6",
        "outbox/worker/batches.py",
        "if len(chosen) < 2 or self._paused(stream):",
        "if len(chosen) < 2:",
        f"{PAUSED}::test_a_batch_that_waits_while_the_pause_comes_is_given_back",
    ),
    Mutation(
        "what was to be in a batch is not handled alone instead once its stream is paused",
        "G6",
        "outbox/worker/settlement.py",
        "                return\n            self._may_begin(entry, hand)\n",
        "                return\n",
        f"{PAUSED}::test_a_batch_that_waits_while_the_pause_comes_is_given_back",
    ),
    Mutation(
        "what waits for a hand while a pause comes is not begun",
        "G6",
        "outbox/worker/settlement.py",
        "                self._may_begin(entry, hand)\n                with counted",
        "                with counted",
        f"{PAUSED}::test_what_waits_for_a_hand_while_the_pause_comes_is_given_back",
    ),
    Mutation(
        "an order of streams that names none is asked again",
        "G1",
        "outbox/worker/intake.py",
        "seconds=None if all_paused else AGAIN_SECONDS",
        "seconds=None",
        "tests/worker/test_order.py::test_an_order_that_names_no_stream_is_asked_again",
    ),
    Mutation(
        "a worker that a task of its handler ends says so, and fails",
        "G1",
        "outbox/cli/worker.py",
        "        if consumer.processing is None or consumer.processing.stop.is_set():\n",
        "        if True:\n",
        "tests/worker/test_ends.py::test_a_worker_that_a_task_of_its_handler_ends_says_so_and_fails",
    ),
    Mutation(
        "readiness names the streams that a worker leaves out",
        "usage",
        "outbox/worker/monitoring.py",
        " + processing.aside.warnings()",
        "",
        "tests/worker/test_ready.py::test_a_stream_that_is_left_out_is_named_while_the_others_are_read",
    ),
    Mutation(
        "what a dead worker holds behind deleted entries is taken over without another silence",
        "G1",
        "outbox/worker/claims.py",
        "            if found or not free:\n",
        "            if True:\n",
        f"{NAME}::test_what_a_dead_one_holds_behind_deleted_entries_is_taken_over_at_once",
    ),
]
