"""Protections of noticing what Redis has lost, and of what is sent to it beside the JSON of a batch."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

DRAINING = "tests/relay/test_draining.py"
WATCH = "tests/relay/test_watch.py"

MUTATIONS = [
    Mutation(
        "a checkpoint that is not as its owner knows it is doubted", "G5", "relay/outbox_relay/watch.py",
        "                drainer.doubt()\n", "",
        f"{WATCH}::test_an_older_copy_is_noticed",
    ),
    Mutation(
        "an owner at work is not doubted", "G5", "relay/outbox_relay/watch.py",
        " if (stand := drainer.stand)}", " for stand in [drainer.stand]}",
        f"{WATCH}::test_a_pass_that_began_before_the_look_is_not_doubted",
    ),
    Mutation(
        "a relay watches what its drainers know", "G5", "relay/outbox_relay/daemon.py",
        "    watch.join(drainer)\n", "",
        f"{WATCH}::test_a_relay_brings_back_what_all_its_idle_partitions_have_lost",
    ),
    Mutation(
        "what others add is on record also while nothing is published", "G5", "outbox/protocol/lua/glance.lua",
        "if known ~= last then", "if false then",
        f"{WATCH}::test_what_others_add_is_no_loss_and_is_put_on_record",
    ),
    Mutation(
        "checkpoints are read when the stream stands elsewhere", "G5", "outbox/protocol/lua/glance.lua",
        "if last == ARGV[3] then", "if ARGV[3] ~= '' then",
        f"{WATCH}::test_an_older_copy_is_noticed_between_whole_looks",
    ),
    Mutation(
        "a checkpoint that was not compared is read", "G5", "relay/outbox_relay/watch.py",
        "self._seen.get(drainer) == (stand, known)", "known",
        f"{WATCH}::test_another_history_seen_while_its_owner_works_is_not_taken_for_known",
    ),
    Mutation(
        "after a look that failed everything is read", "G5", "relay/outbox_relay/watch.py",
        "            self._whole.pop(stream, None)  # who answers next may be another server\n", "",
        f"{WATCH}::test_after_a_look_that_failed_everything_is_read",
    ),
    Mutation(
        "a doubt stays until the partition was looked at", "G5", "relay/outbox_relay/watch.py",
        "                self._seen.pop(drainer, None)\n", "",
        f"{WATCH}::test_a_doubt_stays_until_the_partition_was_looked_at",
    ),
    Mutation(
        "a long text stands where it belongs", "G1", "outbox/protocol/lua/publish.lua",
        "words[i] = ARGV[10 + word] end", "words[i] = ARGV[11] end",
        f"{DRAINING}::test_long_texts_arrive_as_they_were_written_beside_short_ones",
    ),
]  # fmt: skip
