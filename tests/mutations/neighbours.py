"""Protections against what others do on the same servers: entries that they delete, and clocks that they set back."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_EVIDENCE, _CLOCKS = "tests/relay/test_evidence.py::", "tests/faults/test_consumers_clocks.py::"

MUTATIONS = [
    Mutation(
        "each removal is looked for, wherever it is", "G1", "outbox/delivery/removed.py",
        'gone = gone_to, stands.get("entries-added", 0) - stands["length"]', "gone = gone_to, 0",
        _EVIDENCE + "test_a_second_deletion_before_the_first_is_seen_too",
    ),
    Mutation(
        "a group that reads on hides nothing of what is gone ahead of it", "G1", "outbox/delivery/removed.py",
        "if come_to is None or come_to < delivered:", "if come_to != delivered:",
        "tests/relay/test_removed_entries.py::test_what_was_deleted_is_found_while_workers_read_on",
    ),
    Mutation(
        "what is given and deleted while a look goes on was given", "G4", "outbox/delivery/removed.py",
        "[message for message in lost if places.is_ahead(message, come_to)]", "lost",
        "tests/relay/test_removed_entries.py::test_what_was_deleted_is_found_while_workers_read_on",
    ),
    Mutation(
        "a consumer that reads on hides no entry whose time lies ahead", "G1", "outbox/protocol/lua/ahead.lua",
        "if entry[3] == 0 then", "if false then",
        _CLOCKS + "test_what_a_consumer_failed_on_is_taken_over_although_it_reads_on_after_redis_was_set_back_by_a_day",
    ),
    Mutation(
        "times that lie ahead are looked for on each page", "G1", "outbox/protocol/lua/ahead.lua",
        "#page == tonumber(ARGV[2]) and '(' .. page[#page][1] or ''", "''",
        _CLOCKS + "test_what_a_consumer_failed_on_is_taken_over_although_it_reads_on_after_redis_was_set_back_by_a_day",
    ),
    Mutation(
        "what was delivered this very moment is left as it is", "G8", "outbox/protocol/lua/ahead.lua",
        "if entry and entry[3] == 0 then", "if entry then",
        "tests/outbox/test_rescue.py::test_an_entry_that_was_delivered_this_very_moment_keeps_its_time",
    ),
    Mutation(
        "a walk that took long is not made again at once", "G7", "outbox/delivery/removed.py",
        "20 * took if took > LONG_SECONDS else 0", "0",
        "tests/relay/test_removed_entries.py::test_a_walk_that_took_long_is_not_made_again_at_once",
    ),
]  # fmt: skip
