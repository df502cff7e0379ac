"""Protections of the groups of other programs against being taken for dead, and of Redis against those that are."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

SILENT = "tests/relay/test_silent_groups.py"

MUTATIONS = [
    Mutation(
        "after an outage the silence of a group is counted anew", "G8", "outbox/servers/silence.py",
        "late = unseen >= self._gap_seconds", "late = False",
        f"{SILENT}::test_after_an_outage_of_redis_the_consumers_find_what_they_have_not_read",
    ),
    Mutation(
        "the time around a look that failed does not count as silence", "G8", "outbox/delivery/trim.py",
        "silence.miss()  # where", "pass  # where",
        f"{SILENT}::test_the_time_around_a_look_that_failed_does_not_count",
    ),
    Mutation(
        "two looks are not enough to take a group for silent", "G8", "outbox/servers/silence.py",
        "limit = max(seconds, self._gap_seconds)", "limit = seconds",
        f"{SILENT}::test_a_clock_of_redis_that_runs_ahead_makes_nobody_silent",
    ),
    Mutation(
        "a group that has done something since the last look is not ignored", "G8", "outbox/protocol/lua/trim.lua",
        "to_ignore[group['name']] == sign", "to_ignore[group['name']]",
        f"{SILENT}::test_a_group_that_reads_between_look_and_removal_loses_nothing",
    ),
    Mutation(
        "who only asks gives a sign of life", "G8", "outbox/protocol/lua/trim.lua",
        "group['pending'], times[group['name']]}", "group['pending']}",
        f"{SILENT}::test_a_group_that_gives_a_sign_of_life_now_and_then_is_not_ignored",
    ),
    Mutation(
        "who only acknowledges gives a sign of life", "G8", "outbox/protocol/lua/trim.lua",
        "group['last-delivered-id'], group['pending'],", "group['last-delivered-id'],",
        f"{SILENT}::test_a_group_that_gives_a_sign_of_life_now_and_then_is_not_ignored[acknowledges]",
    ),
    Mutation(
        "a group for which nothing waits is not silent", "G8", "outbox/delivery/trim.py",
        "for group, sign, _, _ in found if sign}", "for group, sign, _, _ in found}",
        f"{SILENT}::test_a_group_for_which_nothing_waits_is_not_silent",
    ),
    Mutation(
        "a relay counts the silence of a group, wherever the ids lie", "G7", "outbox/delivery/trim.py",
        "ignore = silence.same_for(limit) if silence and limit is not None else {}", "ignore: dict[str, str] = {}",
        f"{SILENT}::test_a_dead_group_is_ignored_wherever_the_ids_lie",
    ),
    Mutation(
        "a pass that takes long does not begin a long silence anew", "G7", "relay/outbox_relay/trimmer.py",
        "max(self._gap_seconds, (s.ignore_groups_after_seconds or 0) / 10)", "self._gap_seconds",
        f"{SILENT}::test_a_pass_that_takes_long_does_not_begin_a_long_silence_anew",
    ),
    Mutation(
        "a dead group is told of, wherever the ids lie", "G7", "outbox/delivery/trim.py",
        "max(milliseconds / 1000, counted.get(group, 0.0))", "milliseconds / 1000",
        f"{SILENT}::test_a_dead_group_is_told_of_wherever_the_ids_lie",
    ),
    Mutation(
        "the status tells of a dead group, wherever the ids lie", "G7", "outbox/protocol/lua/trim.lua",
        "if milliseconds < 0 then milliseconds = nil end", "",
        f"{SILENT}::test_a_dead_group_is_told_of_wherever_the_ids_lie",
    ),
]  # fmt: skip
