"""Surfaces that others rely on: a change of one is noticed."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

CONTRACTS = "tests/contracts/test_contracts.py"

MUTATIONS = [
    Mutation(
        "the default of a setting is a contract", "surfaces", "relay/outbox_relay/settings.py",
        "relay_batch_size: int = Field(default=500,", "relay_batch_size: int = Field(default=501,",
        f"{CONTRACTS}::test_settings",
    ),
    Mutation(
        "the name of a metric is a contract", "surfaces", "relay/outbox_relay/metrics.py",
        '"relay_outage_seconds"', '"relay_outage_time_seconds"',
        f"{CONTRACTS}::test_metrics",
    ),
]  # fmt: skip
