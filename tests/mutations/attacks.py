"""Protections against what others do to keys, collections, rights and clocks while the outbox runs."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_PARTIAL = "tests/relay/test_partial_publish.py::"
_DECLARATIONS = "tests/relay/test_declarations.py::"

MUTATIONS = [
    Mutation(
        "a batch is not added when its checkpoint cannot be written",
        "G4",
        "outbox/protocol/lua/publish.lua",
        "redis.call('HSET', KEYS[1], 'tag', ARGV[4])\nredis.call('HSET', KEYS[3], 'marker', marker)\n",
        "",
        f"{_PARTIAL}test_a_right_that_is_taken_away_while_the_relay_runs_doubles_nothing",
    ),
    Mutation(
        "a batch is not added when the stream has no ids left for all of it",
        "G4",
        "outbox/protocol/lua/publish.lua",
        "if string.match(last, '^18446744073709551615%-') then",
        "if false then",
        f"{_PARTIAL}test_an_entry_of_others_under_the_last_id_lets_a_batch_in_whole_or_not_at_all",
    ),
    Mutation(
        "a checkpoint without its tag is as good as lost",
        "G1",
        "outbox/protocol/lua/open.lua",
        "there.tag ~= '' and (there.tag or not there.batch)",
        "there.tag ~= ''",
        "tests/relay/test_odd_values.py::test_an_odd_value_loses_and_doubles_nothing",
    ),
    Mutation(
        "times of delivery that a clock has put ahead are set to now",
        "G1",
        "outbox/protocol/lua/ahead.lua",
        "consumer['seen-time'] > soon",
        "false",
        "tests/faults/test_consumers_clocks.py::test_a_consumer_whose_last_sign_of_life_lies_ahead_counts_as_silent_from_then_on",
    ),
    Mutation(
        "a relay publishes for the outbox that it was started for, and for no other",
        "G8",
        "relay/outbox_relay/declarations.py",
        "if notice.identity != ours.identity:",
        "if False:",
        f"{_DECLARATIONS}test_a_relay_ends_when_another_outbox_is_made_in_the_place_of_its_own",
    ),
    Mutation(
        "a relay says what is missing of the schema while it runs",
        "G1",
        "relay/outbox_relay/advice.py",
        "            found += (str(error),)\n",
        "            pass\n",
        f"{_DECLARATIONS}test_a_relay_says_what_somebody_takes_from_the_schema_while_it_runs",
    ),
    Mutation(
        "a hidden index is named",
        "G1",
        "outbox/message/collection.py",
        ', "hidden")',
        ")",
        "tests/cli/verify/test_servers.py::test_an_index_that_an_operator_has_hidden",
    ),
    Mutation(
        "an index by which MongoDB deletes messages is named",
        "G1",
        "outbox/message/additions.py",
        'and "expireAfterSeconds" in index',
        "and False",
        "tests/cli/verify/test_servers.py::test_what_others_add_to_collections_and_lose_messages_by",
    ),
    Mutation(
        "a backlog whose partitions somebody has deleted does not become dead",
        "G1",
        "outbox/operations/upkeep.py",
        "partitions += registered.partitions() if registered else ()",
        "pass",
        "tests/outbox/test_upkeep.py::test_a_backlog_outlives_the_deletion_of_what_init_makes",
    ),
    Mutation(
        "without any partition nothing counts as a stray",
        "G1",
        "outbox/operations/upkeep.py",
        "    if not partitions:\n        return []\n",
        "",
        "tests/outbox/test_upkeep.py::test_a_backlog_outlives_the_deletion_of_what_init_makes",
    ),
]
