"""Mutations of a worker's probes, and of several processes under one parent."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

TESTS = "tests/worker/test_monitoring.py"

MUTATIONS = [
    Mutation(
        "what is snoozed has not failed",
        "G6",
        "outbox/worker/tries.py",
        "Ended.SNOOZED if isinstance(failed.error, Snooze) else Ended.FAILED",
        "Ended.FAILED",
        f"{TESTS}::test_tries_and_what_is_in_flight",
    ),
    Mutation(
        "a paused stream of one test stops no other",
        "G8",
        "outbox/testing/clearing.py",
        '{"$unset": {"paused": "", "resumed_at": ""}}',
        '{"$unset": {"resumed_at": ""}}',
        "tests/testing/test_kit.py::test_a_stream_that_a_test_has_paused_is_not_paused_for_the_next_one",
    ),
    Mutation(
        "a worker process that ends is started again",
        "G1",
        "outbox/cli/processes.py",
        "            ends = 1 if time.monotonic()",
        "            return\n            ends = 1 if time.monotonic()",
        f"{TESTS}::test_several_processes_are_one_to_who_starts_watches_and_stops_them",
    ),
    Mutation(
        "worker processes end with their parent",
        "G1",
        "outbox/cli/worker.py",
        "        end_with_parent(parent_pipe)",
        "        pass",
        f"{TESTS}::test_the_children_end_with_their_parent",
    ),
    Mutation(
        "a wrong call is not repeated",
        "G1",
        "outbox/cli/processes.py",
        "if stop.is_set() or code == USAGE:",
        "if stop.is_set():",
        f"{TESTS}::test_a_wrong_call_is_not_repeated",
    ),
    Mutation(
        "worker processes that are stopped while they start have not failed",
        "G1",
        "outbox/cli/processes.py",
        "0 if code == -signal.SIGTERM else code",
        "code",
        f"{TESTS}::test_a_stop_while_the_processes_start_is_no_failure",
    ),
    Mutation(
        "an event loop that stands still for longer than a handler may take is not alive",
        "G1",
        "outbox/worker/monitoring.py",
        "return time.monotonic() - self._ticked < SILENT_SECONDS + longest",
        "return True",
        f"{TESTS}::test_a_loop_that_stands_still_for_longer_than_a_handler_may_take_is_not_alive",
    ),
]
