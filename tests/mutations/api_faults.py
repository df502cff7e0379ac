"""Protections of the API against requests, records and moments that nobody had thought of."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

BODIES, STOPPING = "tests/api/test_invalid_bodies.py::", "tests/api/test_stopping.py::"
READING, SESSIONS = "tests/api/test_reading.py::", "tests/api/test_sessions.py::"
PAGES = f"{READING}test_every_file_is_on_a_page_whatever_its_id"
BUTTON = f"{SESSIONS}test_a_button_pressed_too_late_leads_back_to_its_page"

MUTATIONS = [
    Mutation(
        "a method that a client makes up is no label", "access", "api/outbox_api/metrics.py",
        ' and scope["method"] in _METHODS', "",
        f"{READING}test_a_method_that_a_client_makes_up_is_no_label",
    ),
    Mutation(
        "unknown members of a body are one fault", "access", "api/outbox_api/strict.py",
        "if not unknown:", "if True:",
        f"{BODIES}test_unknown_members_are_one_fault_however_many",
    ),
    Mutation(
        "a long list of ids is read up to the first wrong one", "access", "api/outbox_api/views.py",
        ", fail_fast=True", "",
        f"{BODIES}test_a_long_list_of_wrong_ids_is_one_fault",
    ),
    Mutation(
        "an answer tells a bounded number of faults", "access", "api/outbox_api/problems.py",
        "found[:MAX_FAULTS]", "found",
        f"{BODIES}test_an_answer_tells_so_many_faults_and_how_many_there_are",
    ),
    Mutation(
        "who waits when the time to stop is over is answered 503", "G1", "api/outbox_api/stopping.py",
        "await problems.cut_off(scope)(scope, receive, send)", "raise",
        f"{STOPPING}test_who_waits_is_told_that_the_outcome_is_not_known",
    ),
    Mutation(
        "a stop waits for no body of a request that it cuts off", "G1", "api/outbox_api/problems.py",
        "if linger and bodies.is_unread(request)", "if bodies.is_unread(request)",
        f"{STOPPING}test_who_waits_is_told_that_the_outcome_is_not_known",
    ),
    Mutation(
        "a stop begins no answer twice", "G1", "api/outbox_api/stopping.py",
        "if not begun:", "if True:",
        f"{STOPPING}test_an_answer_that_has_begun_is_not_begun_again",
    ),
    Mutation(
        "a stop waits for no client that does not read", "G1", "api/outbox_api/stopping.py",
        "asyncio.timeout(0)", "asyncio.timeout(60)",
        f"{STOPPING}test_a_client_that_does_not_read_does_not_hold_the_stop_up",
    ),
    Mutation(
        "files whose id is no ObjectId are listed", "files", "api/outbox_api/uploads/records.py",
        '"_id": {"$not": {"$lte": _LAST}}', '"_id": {"$in": []}',
        PAGES,
    ),
    Mutation(
        "a page full of other ids leads to the ObjectIds", "files", "api/outbox_api/uploads/records.py",
        "_LAST if more else None", "None",
        PAGES,
    ),
    Mutation(
        "no page begins at an id that cannot be asked for", "files", "api/outbox_api/uploads/records.py",
        'query["_id"] = {"$lt": before} if before else {"$lte": _LAST}',
        'query["_id"] = {"$lt": before} if before else {"$exists": True}',
        PAGES,
    ),
    Mutation(
        "only what is uploading is still uploading", "files", "api/outbox_api/files.py",
        "if file.parsing == files.UPLOADING:", "if True:",
        f"{READING}test_a_file_of_another_program_is_read_by_what_gridfs_says",
    ),
    Mutation(
        "a length may be a double", "files", "api/outbox_api/uploads/contents.py",
        "isinstance(told, int | float)", "isinstance(told, int)",
        f"{READING}test_a_file_of_another_program_is_read_by_what_gridfs_says",
    ),
    Mutation(
        "a login after a button leads to a page", "dashboard", "api/outbox_api/dashboard/sessions.py",
        'if request.method == "GET" else', "if True else",
        BUTTON,
    ),
    Mutation(
        "a login after a button does not say that something was done", "dashboard",
        "api/outbox_api/dashboard/sessions.py",
        'if name != "done"]', "]",
        BUTTON,
    ),
    Mutation(
        "a page that acts can find out what became of a lost commit", "dashboard",
        "api/outbox_api/dashboard/routing.py",
        "limit = None if OPERATE in guards else", "limit =",
        "tests/api/test_outages.py::test_what_a_page_did_is_looked_up_when_the_reply_is_lost",
    ),
    Mutation(
        "a length that nothing can have is none", "G8", "api/outbox_api/uploads/contents.py",
        " and not isinstance(told, bool) and 0 <= told < 2**63", "",
        "tests/api/test_reading.py::test_a_file_of_another_program_is_read_by_what_gridfs_says",
    ),
]  # fmt: skip
