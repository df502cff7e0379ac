"""Protections against odd callers, odd neighbours and odd settings of the API."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_ABANDONED = "tests/api/test_abandoned.py::"

MUTATIONS = [
    Mutation(
        "an upload whose bytes come slowly shows life in time", "G1", "api/outbox_api/settings.py",
        "return min(self.api_touch_seconds, self.silent_seconds / 4)", "return self.api_touch_seconds",
        _ABANDONED + "test_an_upload_whose_bytes_come_slowly_is_not_taken_for_abandoned",
    ),
    Mutation(
        "settings under which live uploads would be removed are refused", "G1", "api/outbox_api/settings.py",
        "if self.api_abandoned_seconds < 2 * self.api_idle_seconds:", "if False:",
        _ABANDONED + "test_an_upload_may_not_count_as_abandoned_while_its_body_may_pause",
    ),
]  # fmt: skip
