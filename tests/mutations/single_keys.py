"""Protections against keys that are older than the others of their partition, or another stream's."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

SINGLE = "tests/relay/test_single_keys.py"

MUTATIONS = [
    Mutation(
        "what an older checkpoint does not know of is looked for in the stream", "G4", "relay/outbox_relay/recovery.py",
        "if page := [message for message in sent if partitions.get(message.id) == lease.partition]:", "if page := []:",
        f"{SINGLE}::test_an_older_checkpoint_alone_doubles_nothing",
    ),
    Mutation(
        "what is kept of a tail is not taken back with the rest", "G4", "relay/outbox_relay/recovery.py",
        '{"$gt" if tail else "$ne": end.batch}', '{"$gt": opened.at.batch} if tail else {"$ne": end.batch}',
        f"{SINGLE}::test_an_older_checkpoint_alone_doubles_nothing",
    ),
    Mutation(
        "after a recovery the checkpoint knows where its stream ends", "G4", "outbox/protocol/lua/stamp.lua",
        "'first', last, 'last', last)", "'marker', ARGV[5])",
        f"{SINGLE}::test_a_stream_behind_its_checkpoint_is_recovered_once",
    ),
    Mutation(
        "a stream behind its checkpoint is noticed by who opens it", "G5", "outbox/protocol/lua/open.lua",
        "and is_id(there.last) and earlier(last, there.last) then", "and false then",
        f"{SINGLE}::test_a_stream_behind_its_checkpoint_is_noticed_by_who_opens_it",
    ),
    Mutation(
        "a stream behind one checkpoint is another one for all partitions", "G5", "outbox/protocol/lua/open.lua",
        "  marker = false\n", "  there.marker = ''\n",
        f"{SINGLE}::test_a_stream_behind_one_checkpoint_is_another_one_for_all_partitions",
    ),
    Mutation(
        "a stream behind its checkpoint is noticed by the next batch", "G5", "outbox/protocol/lua/publish.lua",
        "if is_id(there[5]) and earlier(last, there[5]) then", "if false then",
        f"{SINGLE}::test_a_stream_behind_its_checkpoint_is_noticed_by_the_next_batch",
    ),
    Mutation(
        "a stream behind its checkpoint is noticed while nothing is published", "G5", "outbox/protocol/lua/glance.lua",
        "and not (is_id(there[4]) and earlier(last, there[4]))", "",
        f"{SINGLE}::test_a_stream_behind_its_checkpoint_is_noticed_while_nothing_is_published",
    ),
    Mutation(
        "a stream whose first entry is an earlier one is another one", "G5", "outbox/protocol/lua/stream.lua",
        "and not replaced(first, length, known[5])", "",
        f"{SINGLE}::test_a_livelier_stream_in_the_place_of_ours_is_noticed",
    ),
    Mutation(
        "a stream that is empty may have had a first entry", "G5", "outbox/protocol/lua/stream.lua",
        "return length > 0 and first ~= '0-0' and", "return",
        f"{SINGLE}::test_a_stream_that_is_trimmed_and_emptied_is_still_the_same",
    ),
    Mutation(
        "the first entry of a stream that was empty is on record", "G5", "outbox/protocol/lua/publish.lua",
        "if length == 0 and added ~= '' then begins = first end", "",
        f"{SINGLE}::test_the_first_entry_of_a_stream_that_was_empty_is_known",
    ),
    Mutation(
        "the search behind an older checkpoint ends where the stream ended", "G1", "relay/outbox_relay/recovery.py",
        "EntryId.parse(end) <= EntryId.parse(entries.last)", "False",
        f"{SINGLE}::test_the_search_behind_an_older_checkpoint_ends_where_the_stream_ended",
    ),
]  # fmt: skip
