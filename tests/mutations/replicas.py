"""Mutations of what workers share: a stream with groups of others, a name with replicas, a host that stands still."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

GROUPS = "tests/worker/test_other_groups.py"

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
        "if sent and sent.attempt >= sought.get(id_ := str(sent.id), sent.attempt + 1):",
        "if sent and (id_ := str(sent.id)) in sought:",
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
]
