"""Protections against bytes, names and values that nobody should write."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "replies that are not UTF-8 are read", "G1", "outbox/servers/topology.py",
        '"encoding_errors": "surrogateescape"', '"encoding_errors": "strict"',
        "tests/worker/test_bytes.py::test_an_entry_that_cannot_be_a_message_is_acknowledged_and_named",
    ),
    Mutation(
        "names are sent back as the bytes that they are", "G8", "outbox/servers/topology.py",
        '"encoding_errors": "surrogateescape"', '"encoding_errors": "replace"',
        "tests/worker/test_bytes.py::test_a_group_and_a_consumer_of_others_keep_their_names",
    ),
    Mutation(
        "an attempt that MongoDB cannot hold stands for nothing", "G1", "outbox/protocol/checkpoint.py",
        " and int(attempt) <= MAX_ATTEMPTS", "",
        "tests/worker/test_bytes.py::test_an_attempt_that_no_relay_writes_stands_for_nothing",
    ),
    Mutation(
        "a field name that MongoDB does not take is refused", "G1", "outbox/message/document.py",
        'if "\\0" in name:', "if False:",
        "tests/outbox/test_message.py::test_what_cannot_be_sent_is_refused_and_told_what_to_change",
    ),
    Mutation(
        "documents that are not UTF-8 can be read", "G1", "outbox/servers/connections.py",
        "return Database(client, place, LENIENT)", "return Database(client, place)",
        "tests/cli/test_adverse.py::test_everything_goes_on",
    ),
    Mutation(
        "an entry that can be no message stays for whoever added it", "G8", "outbox/worker/rescue.py",
        "remove = await adopt(self._database, entry)", "await adopt(self._database, entry)",
        "tests/worker/test_bytes.py::test_what_a_dead_worker_held_and_can_be_no_message_is_acknowledged_named_and_kept",
    ),
    Mutation(
        "a checkpoint that no relay has written is as good as lost", "G5", "outbox/protocol/lua/open.lua",
        "if not sound() then", "if false then",
        "tests/relay/test_odd_values.py::test_an_odd_value_loses_and_doubles_nothing",
    ),
    Mutation(
        "a record that no relay has written is as good as lost", "G5", "outbox/protocol/lua/stream.lua",
        "known[1] and is_id(known[2]) and", "known[1] and",
        "tests/relay/test_odd_values.py::test_an_odd_value_loses_and_doubles_nothing",
    ),
    Mutation(
        "a look that no relay has written is made anew", "G7", "outbox/protocol/lua/look.lua",
        "stored[2] and read_look(stored[2])", "stored[2] and cjson.decode(stored[2])",
        "tests/relay/test_odd_values.py::test_an_odd_look_is_made_anew",
    ),
    Mutation(
        "what no relay writes is taken for no lease", "G1", "outbox/protocol/leases.py",
        ', "$expr": records.SOUND_LEASE}}', "}}",
        "tests/cli/test_odd_records.py::test_everything_goes_on_and_can_be_read",
    ),
    Mutation(
        "a record that cannot be read stops nothing", "G1", "outbox/operations/records.py",
        "except ValueError:", "except ZeroDivisionError:",
        "tests/cli/test_odd_records.py::test_everything_goes_on_and_can_be_read",
    ),
    Mutation(
        "what others wrote in the place of a message stands for none", "G1", "outbox/message/uniques.py",
        "isinstance(stands, ObjectId) and stands != new", "True",
        "tests/cli/test_odd_records.py::test_what_stands_for_a_unique_value_keeps_no_message_back",
    ),
    Mutation(
        "a count of refusals that is none begins anew", "G8", "outbox/web/refusals.py",
        '"$and": [known, ', '"$and": [',
        "tests/cli/test_odd_records.py::test_refusals_are_counted_from_the_first_that_can_be_read",
    ),
    Mutation(
        "a record that cannot be read hides no other", "G1", "outbox/operations/recoveries.py",
        '.sort("at", -1), understood, limit)', '.sort("at", -1).limit(limit), understood)',
        "tests/cli/test_odd_records.py::test_what_is_right_is_shown_beside_it",
    ),
    Mutation(
        "the next id is counted exactly", "G7", "outbox/protocol/lua/stream.lua",
        "'-' .. plus_one(sequence) end", "'-' .. string.format('%.0f', tonumber(sequence) + 1) end",
        "tests/relay/test_odd_values.py::test_an_id_beyond_what_a_float_holds_is_trimmed_exactly",
    ),
]  # fmt: skip
