"""Protections of a Redis, or of a stream in it, that has no room: that it has some again once workers have read."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

FULL, BEYOND = "tests/relay/test_full_redis.py", "tests/relay/test_groups_beyond.py"

MUTATIONS = [
    Mutation(
        "a look is written in a full Redis", "G7", "outbox/protocol/lua/look.lua",
        "redis.call('HDEL', KEYS[2], '')", "",
        f"{FULL}::test_what_was_acknowledged_leaves_a_full_redis",
    ),
    Mutation(
        "a look that found nothing new is written in a full Redis", "G7", "outbox/protocol/lua/look.lua",
        "if not marked or not same then although_full() end", "",
        f"{FULL}::test_a_full_redis_is_looked_at_while_workers_hold_all_entries",
    ),
    Mutation(
        "a group is watched anew in a full Redis", "G7", "outbox/protocol/lua/look.lua",
        "  although_full()\n  look, marked = watch", "  look, marked = watch",
        f"{FULL}::test_a_group_is_watched_from_then_on_in_a_full_redis",
    ),
    Mutation(
        "a look is settled in a full Redis", "G7", "outbox/protocol/lua/settle.lua",
        "redis.call('HDEL', KEYS[2], 'looked')", "",
        f"{FULL}::test_what_was_acknowledged_leaves_a_full_redis",
    ),
    Mutation(
        "where all was read nothing waits, whatever was counted", "G7", "outbox/protocol/lua/stream.lua",
        "if not earlier(delivered, (position(stream))) then return false end", "",
        f"{BEYOND}::test_whoever_has_read_all_is_given_more_whatever_count_the_group_was_set_to",
    ),
    Mutation(
        "few large entries are counted at a time", "G7", "outbox/protocol/lua/stream.lua",
        "and bytes < 2000000 do", "do",
        f"{BEYOND}::test_where_redis_has_lost_count_of_large_entries_few_of_them_are_read",
    ),
    Mutation(
        "what is counted in pages is counted to the end", "G7", "outbox/protocol/lua/stream.lua",
        "from = after(entries[page][1])", "do return count > limit end",
        f"{BEYOND}::test_where_redis_has_lost_count_the_limit_is_what_was_declared",
    ),
]  # fmt: skip
