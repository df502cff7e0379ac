"""Mutations of whose stream it is: what keeps an outbox from another outbox's entries."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

TESTS = "tests/relay/test_ownership.py"
WORKERS = "tests/relay/test_foreign_workers.py"

_TAKEN = f"{TESTS}::test_whoever_opened_a_stream_before_it_was_taken_over_does_nothing_more"
_UNCHANGED = f"{TESTS}::test_nothing_of_another_outbox_is_changed"

MUTATIONS = [
    Mutation(
        "a stream of another outbox is not opened",
        "G8",
        "outbox/protocol/lua/open.lua",
        "if foreign then return foreign end",
        "",
        f"{TESTS}::test_a_second_outbox_publishes_nothing_says_why_and_loses_nothing",
    ),
    *(
        Mutation(
            f"{script}.lua looks whose stream it is",
            "G8",
            f"outbox/protocol/lua/{script}.lua",
            "if foreign then return foreign end",
            "",
            f"{_TAKEN}[{script}]",
        )
        for script in ("publish", "scan", "stamp")
    ),
    Mutation(
        "entries of another outbox are not trimmed",
        "G8",
        "outbox/protocol/lua/trim.lua",
        "if foreign then return foreign end",
        "",
        f"{_UNCHANGED}[trim]",
    ),
    Mutation(
        "a rescue leaves another outbox's entries alone",
        "G8",
        "outbox/worker/rescue.py",
        "if not await (await self._ownership()).is_ours(stream):",
        "if not stream.name:",
        f"{_UNCHANGED}[rescue]",
    ),
    Mutation(
        "a stream that names nobody is claimed before anything is published",
        "G8",
        "outbox/protocol/lua/publish.lua",
        " or not owner then",
        " then",
        f"{TESTS}::test_a_stream_of_the_version_before_names_nobody_until_it_is_opened",
    ),
    Mutation(
        "what may be another outbox's is not acknowledged",
        "G8",
        "outbox/protocol/lua/acknowledge.lua",
        "earlier(record[2], ARGV[3])",
        "true",
        f"{WORKERS}::test_what_stood_in_a_stream_before_it_named_anybody_is_left_until_somebody_frees_it",
    ),
    Mutation(
        "a worker gives what may be another outbox's to whoever reads nothing",
        "G8",
        "outbox/protocol/lua/acknowledge.lua",
        "if held and held[2] == ARGV[4] then",
        "if false then",
        f"{WORKERS}::test_what_may_be_anothers_in_a_stream_that_names_nobody_comes_back_to_it",
    ),
    Mutation(
        "an entry of others waits for the relay that claims its stream",
        "G8",
        "outbox/worker/settlement.py",
        "UNCLAIMED_SECONDS = 10.0",
        "UNCLAIMED_SECONDS = -1.0",
        f"{WORKERS}::test_an_entry_of_others_waits_for_the_relay_that_opens_the_stream",
    ),
    Mutation(
        "an entry of others is adopted by the outbox that has the stream",
        "G8",
        "outbox/worker/settlement.py",
        "if not await self._becomes_ours(entry.stream, hand):",
        "if not entry.stream.name:",
        f"{WORKERS}::test_an_entry_of_others_in_a_stream_that_names_nobody_is_not_adopted",
    ),
    Mutation(
        "a worker looks at its start whose streams they are",
        "G8",
        "outbox/protocol/ownership.py",
        "            await ownership.is_ours(stream)\n",
        "            pass\n",
        f"{WORKERS}::test_a_worker_of_another_outbox_is_refused_at_its_start",
    ),
    Mutation(
        "a copy of the database is another outbox",
        "G8",
        "outbox/protocol/lua/stream.lua",
        "identity == own and (name == '' or (database or '') == '' or database == name)",
        "identity == own",
        "tests/relay/test_copied_databases.py::test_a_copy_of_the_database_is_another_outbox[publish]",
    ),
    Mutation(
        "a worker's acknowledgement of what it does not know asks whose copy it is",
        "G8",
        "outbox/protocol/ownership.py",
        "[self._ours.claim, stream.group, entry, holder, UNKNOWN]",
        "[self._ours.identity, stream.group, entry, holder, UNKNOWN]",
        "tests/relay/test_copied_databases.py::test_a_copy_of_the_database_is_another_outbox[acknowledge]",
    ),
]
