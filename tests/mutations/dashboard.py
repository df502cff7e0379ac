"""Protections of the dashboard's pages."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "no file but a document is a page", "dashboard", "api/outbox_api/dashboard/documents.py",
        '_PAGE = re.compile(r"[A-Za-z][A-Za-z-]{0,63}")', '_PAGE = re.compile(r".*")',
        "tests/api/test_documents.py::test_no_other_file_is_a_page",
    ),
    Mutation(
        "a worker that records what it holds is named once", "dashboard", "outbox/operations/diagnosis.py",
        "if consumer.name in recorded:", "if False:",
        "tests/outbox/test_diagnosis.py::test_a_worker_that_records_what_it_holds_is_named_once",
    ),
    Mutation(
        "what a group holds is of its first entry", "dashboard", "outbox/delivery/groups.py",
        'first = str(entries[0]["message_id"])', 'first = str(entries[-1]["message_id"])',
        "tests/outbox/test_looking.py::test_what_a_consumer_holds_is_seen",
    ),
    Mutation(
        "a link to a message is made of ids alone", "dashboard", "outbox/delivery/groups.py",
        "if message and ObjectId.is_valid(message)", "if message",
        "tests/outbox/test_looking.py::test_what_a_consumer_holds_is_seen",
    ),
    Mutation(
        "a page that is not there has the navigation", "dashboard", "api/outbox_api/dashboard/routes.py",
        "request.state.session = await request.state.dashboard.sessions.find(request)", "pass",
        "tests/api/test_no_such_page.py::test_who_is_logged_in_finds_the_way_from_there",
    ),
    Mutation(
        "a look for all pages is not short of time for one", "dashboard", "api/outbox_api/dashboard/sampler.py",
        "await asyncio.create_task(look, context=contextvars.Context())", "await look",
        "tests/api/test_time_limits.py::test_a_look_for_all_pages_is_not_short_of_time_for_one",
    ),
    Mutation(
        "a page waits for MongoDB no longer than a request that reads", "dashboard",
        "api/outbox_api/dashboard/routing.py",
        "limit = None if OPERATE in guards else state.settings.api_read_seconds",
        "limit = None if OPERATE in guards else state.settings.api_commit_seconds",
        "tests/api/test_time_limits.py::test_a_page_says_soon_that_mongodb_does_not_answer",
    ),
    Mutation(
        "readiness does not say who paused a stream", "access", "api/outbox_api/readiness.py",
        'f"stream {name!r} is paused"', "str(self._paused.paused[name])",
        "tests/api/test_pausing.py::test_pause_and_resume",
    ),
]  # fmt: skip
