"""Protections of answers: duplicates, cancellations, pages of a replay, and requests under way."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

JOBS, OUTAGES, DUPLICATES = "outbox/operations/jobs.py", "tests/api/test_outages.py::", "tests/api/test_duplicates.py::"

MUTATIONS = [
    Mutation(
        "a cancellation that was carried out is told as such", "G8", JOBS,
        'return fenced is not None and fenced.get("phase") == Phase.CANCELLED', "return False",
        OUTAGES + "test_a_cancellation_whose_commit_was_interrupted_is_looked_up",
    ),
    Mutation(
        "a cancellation that was not carried out is told as such", "G8", JOBS,
        'return fenced is not None and fenced.get("phase") == Phase.CANCELLED', "return True",
        OUTAGES + "test_a_cancellation_whose_commit_did_not_arrive_is_none",
    ),
    Mutation(
        "a page of a replay is no older than its job", "G1", JOBS,
        "async with as_of_now(database) as session, session.bind(end_session=False):", "if True:",
        "tests/outbox/test_stale_pages.py::test_a_job_is_not_done_before_what_it_selects_can_be_seen",
    ),
    Mutation(
        "a duplicate is told as one", "G8", "api/outbox_api/problems.py",
        "if isinstance(error, DuplicateKeyError):", "if False:",
        DUPLICATES + "test_a_second_file_of_a_name_is_refused_as_what_it_is",
    ),
    Mutation(
        "a duplicate leaves nothing behind", "G2", "api/outbox_api/upload.py",
        "        except DuplicateKeyError:\n            await self._discard()\n", "        except DuplicateKeyError:\n",
        DUPLICATES + "test_a_second_file_of_a_name_is_refused_as_what_it_is",
    ),
    Mutation(
        "an upload that lost a race for its key gets the answer, whatever index refuses it", "G2",
        "api/outbox_api/upload.py",
        "winner = await idempotency.find(self._state.database, self._key) if self._key else None", "winner = None",
        DUPLICATES + "test_of_two_at_once_under_one_key_the_slower_gets_the_answer_whatever_refuses_it",
    ),
    Mutation(
        "a worker process that stands still is not killed with its uploads", "G1", "api/outbox_api/cli.py",
        "timeout_worker_healthcheck=STANDSTILL_SECONDS,", "",
        "tests/api/test_standstill.py::test_an_upload_outlives_a_standstill_of_its_worker",
    ),
]  # fmt: skip
