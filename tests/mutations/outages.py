"""Protections around servers: their addresses, outages of parts of them, start and stop."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "everything is read at the primary, whatever the address says",
        "G5",
        "outbox/connections.py",
        '"readPreference": "primary",',
        "",
        "tests/outbox/test_connections.py::test_what_was_written_is_read_at_once_and_a_doubt_is_settled_by_the_primary",
    ),
    Mutation(
        "no limit in the address cuts off a statement",
        "G1",
        "outbox/connections.py",
        '"timeoutMS": None,',
        "",
        "tests/outbox/test_connections.py::test_what_the_guarantees_rest_on_holds_whatever_the_address_says",
    ),
]
