"""Protections of the relay against what would hold it up, and with it everybody else."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

BY_OTHERS = "tests/relay/test_published_by_others.py::test_it_does_not_hold_up_a_recovery"

MUTATIONS = [
    Mutation(
        "a published message whose id cannot be asked for again is dead", "G5, G8", "outbox/protocol/losses.py",
        'if any(message.pop("id_type") != "objectId" for message in page):', "if False:",
        f"{BY_OTHERS}[bad text in an id]",
    ),
]  # fmt: skip
