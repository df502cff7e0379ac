"""Protections of what is not ours."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

APART = "tests/faults/test_neighbours.py::test_an_outbox_in_a_database_of_its_own"
OWNED = "tests/outbox/test_ownership.py"

MUTATIONS = [
    Mutation(
        "what another program claims and fills meanwhile is ours", "G8", "outbox/message/installation.py",
        "known = await meta.known(database)  # who filled one meanwhile had claimed it by then", "pass",
        "tests/outbox/test_ownership.py::test_what_another_program_claims_and_fills_meanwhile_is_ours",
    ),
    Mutation(
        "collections begin with the prefix", "G8", "outbox/database.py",
        "return prefix + name.removeprefix(OUTBOX) if is_core(name) else name", "return name",
        APART,
    ),
    Mutation(
        "an identity is made once", "G8", "outbox/message/meta.py",
        '"$setOnInsert": {"identity"', '"$set": {"identity"',
        "tests/outbox/test_meta.py::test_a_process_that_was_slower_keeps_the_identity",
    ),
    Mutation(
        "somebody else's collection is refused", "G8", "outbox/message/installation.py",
        "    if foreign:\n", "    if False:\n",
        f"{OWNED}::test_a_collection_of_somebody_else_is_refused_by_name_and_nothing_is_changed",
    ),
    Mutation(
        "an index that somebody has changed is not dropped", "G8", "outbox/message/installation.py",
        "    _refuse_what_differs(database, there)\n", "",
        f"{OWNED}::test_an_index_that_somebody_has_changed_is_refused",
    ),
    Mutation(
        "a dry run changes nothing", "G8", "outbox/message/schema.py",
        "if not dry_run and not await", "if not await",
        f"{OWNED}::test_a_dry_run_says_what_would_be_done_and_changes_nothing",
    ),
    Mutation(
        "only what version 1 can have made is taken over", "G8", "outbox/message/installation.py",
        "return self.collection.since == 1 and bool(ours) and valid and not self.what_differs()", "return True",
        f"{OWNED}::test_a_collection_of_somebody_else_beside_version_1_is_refused",
    ),
    Mutation(
        "versions of the schema that are far apart do not meet", "G8", "outbox/message/meta.py",
        "if schema > VERSION + 1:", "if False:",
        f"{OWNED}::test_programs_one_version_of_the_schema_apart_work_side_by_side",
    ),
    Mutation(
        "only what the API has begun is removed", "G8", "api/outbox_api/uploads/records.py",
        'find({"parsing": ABANDONED, **BEGUN_HERE}, {"_id": 1})', 'find({"parsing": ABANDONED}, {"_id": 1})',
        "tests/api/test_abandoned.py::test_only_what_the_api_has_begun_is_removed",
    ),
]  # fmt: skip
