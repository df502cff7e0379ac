"""Protections of what is registered of the streams."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

CLI, RELAY = "tests/cli/test_declarations.py", "tests/relay/test_declarations.py"
CHANGED = "tests/relay/test_partitions_changed.py"

MUTATIONS = [
    Mutation(
        "an append where no outbox is ends its transaction", "G1", "outbox/append.py",
        "self._times = await first_look.look(database, self.streams)", "self._times = {}",
        "tests/outbox/test_append.py::test_an_append_where_no_outbox_is_ends_its_transaction",
    ),
    Mutation(
        "an append under another declaration is logged", "G1", "outbox/streams/first_look.py",
        "            registry.compare(declared, documents)\n", "            pass\n",
        "tests/outbox/test_append.py::test_the_first_append_logs_that_a_declaration_differs",
    ),
    Mutation(
        "a declaration is compared with what is registered", "G1", "outbox/streams/registry.py",
        "faults = agreement.differences(declared, registered) if explicit else []", "faults: list[str] = []",
        f"{CLI}::test_every_program_refuses_a_declaration_that_contradicts_what_is_registered",
    ),
    Mutation(
        "init compares before it changes anything", "G8", "outbox/message/schema.py",
        "await registry.refuse(database, streams)", "pass",
        f"{CLI}::test_init_refuses_a_declaration_that_contradicts_what_is_registered",
    ),
    Mutation(
        "init adds no name that another stream has", "G1", "outbox/streams/registry.py",
        "    refuse_taken_names(registered, declared.declared())\n", "",
        f"{CLI}::test_no_stream_takes_the_name_of_another_by_a_change",
    ),
    Mutation(
        "a change as declared adds no name that another stream has", "G1", "outbox/operations/registration.py",
        "registry.refuse_taken_names(registered, [stream])", "pass",
        f"{CLI}::test_no_stream_takes_the_name_of_another_by_a_change",
    ),
    Mutation(
        "the fair share counts only relays that drain the stream", "G1", "relay/outbox_relay/shares.py",
        "for relay, drains in relays.items() if stream in drains)", "for relay, drains in relays.items())",
        f"{RELAY}::test_every_partition_is_in_the_share_of_a_relay_that_drains_its_stream",
    ),
    Mutation(
        "a relay notices what is registered later", "G1", "relay/outbox_relay/leaser.py",
        "await self._read_streams()", "pass",
        f"{RELAY}::test_a_stream_that_is_registered_later_is_drained_without_a_restart",
    ),
    Mutation(
        "a message waits for earlier ones of its key in other partitions", "G3", "outbox/protocol/turns.py",
        "if key in earliest and earliest[key] < position:", "if False:",
        f"{CHANGED}::test_a_message_waits_for_earlier_ones_of_its_key_in_another_partition",
    ),
    Mutation(
        "a new number of partitions waits for every relay", "G3", "outbox/operations/registration.py",
        'await _noticed(database, name, document["revision"], seconds)', "pass",
        f"{CHANGED}::test_partitions_are_not_changed_before_every_relay_has_noticed",
    ),
    Mutation(
        "a relay takes a stream anew that was removed and registered between two looks", "G1",
        "relay/outbox_relay/declarations.py",
        "(mine.revisions, dict(mine)) != (self.streams.revisions, dict(self.streams))",
        "mine.revisions != self.streams.revisions",
        f"{RELAY}::test_a_stream_that_was_removed_and_registered_anew_between_two_looks_is_what_it_is_now",
    ),
    Mutation(
        "pauses are known beside a stream that cannot be understood", "G7", "relay/outbox_relay/declarations.py",
        "self.registered.pauses = pauses.understood(documents)", "pass",
        f"{RELAY}::test_pauses_are_known_beside_a_stream_that_cannot_be_understood",
    ),
    Mutation(
        "what is appended while strays are looked for is none", "G1", "outbox/operations/upkeep.py",
        '"position": {"$not": {"$gt": asked}}', '"position": {"$exists": True}',
        "tests/outbox/test_upkeep.py::test_what_is_appended_while_strays_are_looked_for_is_none",
    ),
    Mutation(
        "a stream is removed only when nothing waits in it", "G1", "outbox/operations/registration.py",
        'await _refuse_undone(database, name, members, UNDONE, "removed")', "pass",
        f"{CLI}::test_a_stream_is_removed_by_command_when_nothing_waits_in_it",
    ),
    Mutation(
        "leases are there before their partitions are registered", "G1", "outbox/operations/registration.py",
        "await registry.ensure_partitions(database, Streams([replace(before, earlier_partitions=tuple(numbers))]))",
        "pass",
        "tests/relay/test_interrupted_changes.py::test_another_number_of_partitions",
    ),
    Mutation(
        "leases are there before their stream is registered", "G1", "outbox/streams/registry.py",
        "created = [] if dry_run else await ensure_partitions(database, declared)", "created = list[str]()",
        "tests/relay/test_interrupted_changes.py::test_init_with_one_stream_more",
    ),
    Mutation(
        "a removal is one transaction", "G1", "outbox/operations/registration.py",
        'delete_many({"stream": alone}, session=session)', 'delete_many({"stream": alone})',
        "tests/relay/test_interrupted_changes.py::test_a_removal",
    ),
]  # fmt: skip
