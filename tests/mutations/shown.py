"""Mutations of what an operator is shown: the status, the diagnosis, alerts and the history."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

COUNT = "tests/outbox/test_lost_count.py"
GONE = "tests/cli/verify/test_gone_is_done.py"
OTHERS = "tests/relay/test_pauses_of_others.py"
SHARD = "tests/outbox/test_shard_away.py"
STRAGGLERS = "tests/cli/verify/test_stragglers.py"
TAKEN = "tests/relay/test_taken_away.py"

MUTATIONS = [
    Mutation(
        "what is gone is done, where that is declared, and the status does not warn of it",
        "G6",
        "outbox/delivery/evidence.py",
        "if stream.subject is None and not stream.gone_is_done]",
        "if stream.subject is None]",
        f"{GONE}::test_what_its_worker_deleted_is_nothing_to_warn_of",
    ),
    Mutation(
        "what is gone is done, where that is declared, and `verify` asks nobody to publish it again",
        "G6",
        "outbox/operations/verify/entries.py",
        'given = [message for message in given if not message.get("entries")]',
        "pass",
        f"{GONE}::test_what_its_worker_deleted_is_nothing_to_warn_of",
    ),
    Mutation(
        "what no relay can complete is found, although what is gone counts as done",
        "G6",
        "outbox/operations/verify/entries.py",
        'given = [message for message in given if not message.get("entries")]',
        "given = []",
        f"{GONE}::test_what_no_relay_can_complete_is_found_all_the_same",
    ),
    Mutation(
        "a relay of other streams knows that a stream is paused when it measures all of them",
        "G6",
        "relay/outbox_relay/daemon.py",
        "Backlog(database, redis, streams, declarations.registered)",
        "Backlog(database, redis, streams)",
        f"{OTHERS}::test_a_relay_of_other_streams_tells_of_no_delay_in_a_paused_one",
    ),
    Mutation(
        "a relay notices a pause of a stream that it does not drain, and its end",
        "G6",
        "relay/outbox_relay/declarations.py",
        "        self.registered.take(registered)\n        mine =",
        "        mine =",
        f"{OTHERS}::test_what_another_relay_drains_counts_unless_it_is_paused_and_from_when_it_was_resumed",
    ),
    Mutation(
        "where Redis has lost count, what was counted one by one waits for a worker",
        "G6",
        "outbox/operations/diagnosis.py",
        "counted = depth.undelivered if counted is None else counted",
        "pass",
        f"{COUNT}::test_entries_that_were_counted_one_by_one_wait_for_a_worker",
    ),
    Mutation(
        "where more wait than can be counted, the diagnosis does not say that all is well",
        "G6",
        "outbox/operations/diagnosis.py",
        "return LOOK_AHEAD + 1, depth.length,",
        "return 0, depth.length,",
        f"{COUNT}::test_more_than_were_counted_wait_for_a_worker",
    ),
    Mutation(
        "a stream that is full is no partition that stands still, although Redis has lost count",
        "G6",
        "outbox/operations/diagnosis.py",
        "return LOOK_AHEAD + 1, depth.length,",
        "return LOOK_AHEAD + 1, 0,",
        f"{COUNT}::test_a_full_stream_is_no_partition_that_stands_still",
    ),
    Mutation(
        "`verify` names a group without consumers that nothing is trimmed because of",
        "G6",
        "outbox/operations/verify/groups.py",
        "if one.abandoned and not one.ignored and",
        "if one.ignored and",
        f"{STRAGGLERS}::test_a_group_that_nothing_is_trimmed_because_of",
    ),
    Mutation(
        "`verify` names a group once, however many reasons there are",
        "G6",
        "outbox/operations/verify/groups.py",
        'not one.ignored and f"{stream.name} {name}" not in named:',
        "not one.ignored:",
        f"{STRAGGLERS}::test_it_is_named_once",
    ),
    Mutation(
        "a priority or group that is taken away leaves no lease behind",
        "G6",
        "outbox/operations/registration.py",
        "gone = [member.name for member in before.members() if member.name not in members]",
        "gone = []",
        f"{TAKEN}::test_their_leases_go_with_them_and_nothing_is_said_of_them",
    ),
    Mutation(
        "a lease of a stream that is registered no more lacks no owner",
        "G6",
        "outbox/operations/diagnosis.py",
        'if p["stream"] in streams and',
        "if",
        f"{TAKEN}::test_a_partition_of_no_stream_that_is_registered_lacks_no_owner",
    ),
    Mutation(
        "a relay has not lost the lease of what is registered no more",
        "G6",
        "relay/outbox_relay/leaser.py",
        "return {lease for lease in lost if view.partitions[lease.partition.stream]}",
        "return lost",
        f"{TAKEN}::test_a_relay_that_drained_them_has_lost_nothing_and_drains_them_when_they_are_back",
    ),
    Mutation(
        "what a shard that is away ever had is not known, which is not nothing",
        "G6",
        "outbox/delivery/groups.py",
        "return None  # without it, all that it ever had",
        "continue  # without it, all that it ever had",
        f"{SHARD}::test_nothing_seems_to_be_published_when_it_is_back",
    ),
    Mutation(
        "to a stream that is not there nothing was ever added, and that is known",
        "G6",
        "outbox/delivery/groups.py",
        'return Readers(added=0) if "no such key" in str(error) else Readers()',
        "return Readers()",
        f"{SHARD}::test_what_is_not_there_yet_has_had_nothing",
    ),
]
