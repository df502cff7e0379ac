"""Protections of what is known of published messages: their entries, and whether these were acknowledged."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

RECOVERY, TRIMMING, RESCUE = (
    "tests/relay/test_recovery.py",
    "tests/relay/test_trimming.py",
    "tests/outbox/test_rescue.py",
)

MUTATIONS = [
    Mutation(
        "what a reconciliation marks has its entries", "G5", "relay/recovery.py",
        "opened.messages, opened.entries)", "opened.messages, type(opened.entries)('1-0', '1-0'))",
        f"{RECOVERY}::test_what_a_reconciliation_marks_has_its_entries_on_record",
    ),
    Mutation(
        "survivors have their entries", "G5", "outbox/losses.py",
        '"entries": entries._asdict(),', "",
        f"{RECOVERY}::test_survivors_have_their_entries_on_record",
    ),
]  # fmt: skip
