"""Counting in messages that were written around the library."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "what is no number counts as none",
        "operators",
        "outbox/message/document.py",
        'return {"$cond": [{"$isNumber": f"${name}"}, f"${name}", 0]}',
        'return {"$ifNull": [f"${name}", 0]}',
        "tests/outbox/test_attempts.py::test_a_retry",
    ),
    Mutation(
        "only what Redis writes is the id of an entry",
        "G1",
        "outbox/streams/entry_ids.py",
        "_WRITTEN.fullmatch(text)",
        "_WRITTEN.match(text)",
        "tests/outbox/test_entry_ids.py::test_what_is_no_id_is_refused",
    ),
]
