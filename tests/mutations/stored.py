"""Mutations of what is stored: unique values, subjects named by a key, indexes, and what a migration takes up."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

UNIQUE = "tests/outbox/test_unique.py"

MUTATIONS = [
    Mutation(
        "the value of a dead message is kept for its retry", "G1", "outbox/message/uniques.py",
        "[*WAITING, State.DEAD.value]", "WAITING",
        f"{UNIQUE}::test_the_value_of_a_dead_message_is_kept_for_its_retry",
    ),
    Mutation(
        "the registered time counts for further groups", "G1", "outbox/message/uniques.py",
        "registered.get(stream.topic or stream.family,", "registered.get(stream.family,",
        f"{UNIQUE}::test_the_registered_time_counts_for_each_group",
    ),
    Mutation(
        "a key in another spelling names its subject", "G1", "outbox/draft.py",
        'return None if identifiers.as_text(id_) == key else {"id": id_}', "return None",
        "tests/outbox/test_spelled_keys.py",
    ),
    Mutation(
        "an adopted collection keeps its collation", "G8", "outbox/message/installation.py",
        "not same(index, found.indexes[name], found.collation)", "not same(index, found.indexes[name])",
        "tests/outbox/test_collations.py::test_indexes_have_the_collation_of_an_adopted_collection",
    ),
    Mutation(
        "a migration leaves alone what an old entry is about", "G1", "api/outbox_api/uploads/migration.py",
        "[file_id for file_id in page if str(file_id) not in in_stream]", "page",
        "tests/cli/test_migrate.py::test_a_file_of_the_fallback_whose_entry_redis_took_is_left_to_the_workers",
    ),
    Mutation(
        "what an old entry is about is queued, so that its message is not settled", "G1",
        "api/outbox_api/uploads/migration.py", "await self._queue(taken)", "pass",
        "tests/cli/test_migrate.py::test_a_file_of_the_fallback_whose_entry_redis_took_is_left_to_the_workers",
    ),
]  # fmt: skip
