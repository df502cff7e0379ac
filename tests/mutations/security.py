"""Protections against those who would abuse what they may reach."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

INTRUDERS, GUESSES = "tests/api/test_intruders.py::", "tests/api/test_guesses.py::"
SESSIONS, ON_RECORD = "tests/api/test_sessions.py::", "tests/api/test_on_record.py::"
RIGHTS = "tests/faults/test_least_privilege.py::"

MUTATIONS = [
    Mutation(
        "times are ISO 8601 with a zone", "G4", "outbox/servers/clock.py",
        "if _ISO_8601.fullmatch(text):", "if True:",
        "tests/api/test_replays.py::test_a_time_is_iso_8601_with_its_zone",
    ),
    Mutation(
        "a time is one that servers can hold", "G4", "outbox/servers/clock.py",
        "if utc is None or utc < EARLIEST:", "if utc is None:",
        "tests/api/test_replays.py::test_a_time_is_iso_8601_with_its_zone",
    ),
    Mutation(
        "the API's Redis user only reads", "G5", "docs/security.md",
        "outbox:stream +hmget +xlen +xrange", "outbox:stream +hmget +@stream",
        f"{RIGHTS}test_redis_refuses_the_rest[api]",
    ),
    Mutation(
        "the API cannot change the audit", "audit", "docs/security.md",
        '"collection": "outbox_audit"}, "actions": ["insert"]',
        '"collection": "outbox_audit"}, "actions": ["insert", "update"]',
        f"{RIGHTS}test_mongodb_refuses_the_rest[api]",
    ),
    Mutation(
        "an origin is compared, and not taken apart", "access", "api/outbox_api/access.py",
        'origin.partition("://")[2] !=', '__import__("urllib.parse").parse.urlsplit(origin).netloc !=',
        f"{INTRUDERS}test_an_origin_that_cannot_be_parsed_is_refused_and_counted",
    ),
    Mutation(
        "nobody is a trusted proxy by default", "access", "api/outbox_api/cli.py",
        "proxy_headers=False,", "proxy_headers=True,",
        f"{GUESSES}test_whom_nobody_trusts_cannot_say_where_it_comes_from",
    ),
    Mutation(
        "a proxy is known by its IPv4 address at :: too", "access", "api/outbox_api/settings.py",
        "[*map(str, networks), *mapped]", "[*map(str, networks)]",
        f"{GUESSES}test_a_proxy_is_known_where_the_api_listens_at_both_kinds_of_addresses",
    ),
    Mutation(
        "the dashboard reads its own kind of form only", "access", "api/outbox_api/dashboard/routing.py",
        "if body and kind != FORM:", "if False:",
        "tests/api/test_odd_input.py::test_in_a_form_that_names_its_charset",
    ),
    Mutation(
        "unknown keys are counted for all processes", "access", "api/outbox_api/guesses.py",
        "if together > LIMIT:", "if False:",
        f"{GUESSES}test_wrong_keys_are_counted_for_all_processes_together",
    ),
    Mutation(
        "counts of addresses take bounded memory", "access", "api/outbox_api/guesses.py",
        "if name in self._counts or len(self._counts) < MAX_ADDRESSES:", "if True:",
        f"{GUESSES}test_many_addresses_take_no_more_memory_than_few",
    ),
    Mutation(
        "a logout ends the session at every process", "access", "outbox/web/logouts.py",
        'return {document["_id"] async for document in found}', "return set()",
        f"{SESSIONS}test_a_logout_ends_the_session_at_every_process",
    ),
    Mutation(
        "an open stream ends with its session", "access", "api/outbox_api/dashboard/sampler.py",
        "if not goes_on():", "if False:",
        f"{SESSIONS}test_a_logout_ends_open_streams_at_every_process",
    ),
    Mutation(
        "a key with other scopes ends its sessions", "access", "outbox/web/keys.py",
        'f"fingerprint:{self.line}"', 'f"fingerprint:{self.digest}"',
        f"{SESSIONS}test_a_key_with_other_scopes_ends_its_sessions",
    ),
    Mutation(
        "an idempotency key belongs to its caller", "access", "api/outbox_api/uploads/idempotency.py",
        'return f"{owner}/{key}"', "return key",
        f"{ON_RECORD}test_an_idempotency_key_belongs_to_its_caller",
    ),
    Mutation(
        "the name of a replay belongs to its caller", "access", "outbox/operations/jobs.py",
        'return f"{owner}/{request}"', 'return f"anybody/{request}"',
        f"{ON_RECORD}test_the_name_of_a_replay_belongs_to_its_caller_and_each_is_on_record",
    ),
    Mutation(
        "who asks for a replay again is on record", "audit", "outbox/operations/jobs.py",
        "if who != job.who:", "if False:",
        f"{ON_RECORD}test_who_asks_again_by_the_command_line_is_on_record",
    ),
    Mutation(
        "a single replay and its record are one transaction", "audit", "outbox/operations/replay.py",
        'details={"message": message}, session=session)', 'details={"message": message})',
        f"{ON_RECORD}test_a_single_replay_that_does_not_happen_is_not_on_record",
    ),
    Mutation(
        "many ids are put on record as their number", "G7", "outbox/operations/jobs.py",
        "selection.summary(), \"rate\"", "selection.as_document(), \"rate\"",
        f"{ON_RECORD}test_ten_thousand_ids_are_shown_as_their_number",
    ),
    Mutation(
        "many ids are not read for every look", "G7", "outbox/operations/jobs.py",
        '{"selection.ids": {"$slice": SHOWN_IDS}}', "{}",
        f"{ON_RECORD}test_ten_thousand_ids_are_shown_as_their_number",
    ),
    Mutation(
        "a page says what was done by known words", "access", "api/outbox_api/dashboard/routing.py",
        'DONE.get(request.query_params.get("done", ""))', 'request.query_params.get("done", "")',
        f"{INTRUDERS}test_a_link_cannot_put_words_into_a_page",
    ),
    Mutation(
        "the console log acts on no terminal", "G8", "outbox/logs.py",
        "        _harmless,\n", "",
        "tests/outbox/test_logs.py::test_nothing_that_is_logged_acts_on_a_terminal",
    ),
    Mutation(
        "programs are given no secrets of others", "access", "compose.yaml",
        "  environment: &program-environment\n", "  env_file: [.env]\n  environment: &program-environment\n",
        "tests/test_compose.py::test_a_program_is_given_its_own_settings_and_no_other_secrets",
    ),
    Mutation(
        "a page ends by its bytes", "G7", "outbox/message/pages.py",
        "or (found and size > page_bytes)", "or False",
        "tests/api/test_bounds.py::test_pages_of_large_messages_are_bounded_and_reach_all",
    ),
    Mutation(
        "large values are left out in MongoDB", "G7", "outbox/message/pages.py",
        "        without_large_values(large),\n", "",
        "tests/api/test_bounds.py::test_one_huge_message_is_shown_without_what_makes_it_huge",
    ),
    Mutation(
        "reasons are cut before they are counted", "G7", "outbox/operations/reasons.py",
        "[texts, 0, MAX_REASON]", "[texts, 0, 20_000_000]",
        "tests/api/test_bounds.py::test_reasons_are_cut_before_they_are_counted",
    ),
    Mutation(
        "what a caller sees is kept in no cache", "access", "api/outbox_api/headers.py",
        'headers.setdefault("Cache-Control", "no-store")', "pass",
        f"{INTRUDERS}test_what_one_caller_sees_is_kept_in_no_cache",
    ),
    Mutation(
        "nobody is redirected to a host that a request names", "access", "api/outbox_api/app.py",
        "redirect_slashes=False,", "redirect_slashes=True,",
        f"{INTRUDERS}test_nobody_is_redirected_to_a_host_that_the_request_names",
    ),
    Mutation(
        "a repair and its record are one transaction", "audit", "outbox/operations/verify/unsent.py",
        "update_many(*transitions.complete_unsent(ids), session=session)",
        "update_many(*transitions.complete_unsent(ids))",
        "tests/cli/verify/test_files.py::test_what_cannot_be_put_on_record_is_not_mended",
    ),
]  # fmt: skip
