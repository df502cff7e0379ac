"""Protections against odd callers, odd neighbours and odd settings of the API."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_ABANDONED, _REFUSALS = "tests/api/test_abandoned.py::", "tests/api/test_write_refusals.py::"
_UNREGISTERED = "tests/api/test_unregistered.py::"

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
    Mutation(
        "what a validator of others does not allow is refused for good", "G8", "api/outbox_api/problems.py",
        "if isinstance(error, PyMongoError) and write_refusals.is_lasting(error):", "if False:",
        _REFUSALS + "test_a_reparse_that_a_validator_does_not_allow_is_refused_for_good",
    ),
    Mutation(
        "an upload that a validator does not allow leaves nothing behind", "G8", "api/outbox_api/upload.py",
        "if write_refusals.is_lasting(error):", "if False:",
        _REFUSALS + "test_an_upload_that_a_validator_does_not_allow_is_refused_for_good_and_leaves_nothing",
    ),
    Mutation(
        "who uploads is not told that the stream for files is his mistake", "G1", "api/outbox_api/state.py",
        "if not self.passed or FILE_STREAM not in self.streams:", "if not self.passed:",
        _UNREGISTERED + "test_uploads_and_reparses_wait_for_an_operator_and_go_on",
    ),
    Mutation(
        "readiness says that the stream for files is not registered any more", "G1", "api/outbox_api/state.py",
        "        if FILE_STREAM not in self.streams:\n            raise self._unregistered()\n", "",
        _UNREGISTERED + "test_uploads_and_reparses_wait_for_an_operator_and_go_on",
    ),
    Mutation(
        "a stream that is registered meanwhile makes no look at the streams fail", "G8", "api/outbox_api/state.py",
        "return copy(self.streams)", "return self.streams",
        _UNREGISTERED + "test_a_look_at_the_streams_outlives_that_they_change_meanwhile",
    ),
    Mutation(
        "an operator's request to a MongoDB that hangs is answered in time", "G8", "outbox/operations/dead.py",
        "await subjects.run(database, body, happened=happened, seconds=seconds)\n\n\nasync def discard",
        "await subjects.run(database, body, happened=happened)\n\n\nasync def discard",
        "tests/api/test_time_limits.py::test_what_operators_do_is_waited_for_only_so_long",
    ),
    Mutation(
        "what is no count is not taken for a size", "G8", "api/outbox_api/uploads/records.py",
        "return isinstance(value, int) and not isinstance(value, bool) and value >= 0", "return isinstance(value, int)",
        "tests/api/test_reading.py::test_a_file_of_another_program_is_read_by_what_gridfs_says",
    ),
    Mutation(
        "an address that no file can have is no page", "G8", "api/outbox_api/dashboard/documents.py",
        "[A-Za-z-]{0,63}", "[A-Za-z-]*", "tests/api/test_documents.py::test_no_other_file_is_a_page",
    ),
    Mutation(
        "of two idempotency keys none is chosen", "G1", "api/outbox_api/access.py",
        "if len(given) > 1:", "if False:",
        "tests/api/test_idempotency.py::test_two_keys_of_one_request_are_refused",
    ),
    Mutation(
        "an open door answers to its own names only", "G8", "api/outbox_api/hosts.py",
        "if host is None or host[1] not in self._names:", "if False:",
        "tests/api/test_access.py::test_an_open_door_answers_to_its_own_names_only",
    ),
]  # fmt: skip
