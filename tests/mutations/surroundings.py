"""Protections against what surrounds a command: outputs, the folder it is started in, documents and names of others."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

TESTS = "tests/cli/test_surroundings.py"

MUTATIONS = [
    Mutation(
        "a log that cannot be written stops no work",
        "G1",
        "outbox/logs.py",
        "        with suppress(OSError, ValueError):  # ValueError: it is closed\n            self._file.write(text)",
        "        self._file.write(text)",
        f"{TESTS}::test_a_relay_goes_on_whose_log_cannot_be_written",
    ),
    Mutation(
        "a closed output is the null device",
        "operators",
        "outbox/cli/standard_streams.py",
        'sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)',
        "pass",
        f"{TESTS}::test_an_output_that_is_closed_changes_nothing",
    ),
    Mutation(
        "characters that an encoding lacks are escaped",
        "operators",
        "outbox/cli/standard_streams.py",
        'stream.reconfigure(errors="backslashreplace")',
        "pass",
        f"{TESTS}::test_what_an_encoding_has_no_characters_for_is_escaped",
    ),
    Mutation(
        "a full output is an error in a line",
        "operators",
        "outbox/cli/standard_streams.py",
        "_FULL = {errno.ENOSPC,",
        "_FULL = {",
        f"{TESTS}::test_an_output_that_is_full_is_an_error_in_a_line",
    ),
    Mutation(
        "the processes of a worker import nothing from the folder instead of us",
        "G8",
        "outbox/cli/processes.py",
        '[sys.executable, "-P", "-m", "outbox", "worker"',
        '[sys.executable, "-m", "outbox", "worker"',
        f"{TESTS}::test_processes_of_a_worker_are_ours_whatever_is_in_the_folder",
    ),
    Mutation(
        "streams that share keys in Redis are refused",
        "G1",
        "outbox/streams/declaration.py",
        "refuse_shared_keys([stream.key for stream in declared])",
        "pass",
        "tests/outbox/test_streams.py::test_streams_that_would_share_keys_in_redis_are_refused",
    ),
    Mutation(
        "a replay selects by ids of messages alone",
        "G1",
        "outbox/operations/selection.py",
        '{"$type": "objectId", **',
        '{"$exists": True, **',
        "tests/outbox/test_jobs.py::test_what_others_wrote_under_an_id_of_another_kind_stops_no_job",
    ),
]
