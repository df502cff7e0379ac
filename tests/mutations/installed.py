"""Protections of who installs little: nothing of the extras is imported, and what is missing is said."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_TESTS = "tests/installed/test_extras.py::"

MUTATIONS = [
    Mutation(
        "a worker needs no OpenTelemetry", "installed", "outbox/worker/work.py",
        "from outbox.worker.spans import handling", "from outbox.traces import handling",
        _TESTS + "test_to_append_and_to_work_nothing_of_the_extras_is_imported",
    ),
    Mutation(
        "a missing command line is said", "installed", "outbox/cli/__init__.py",
        "if (needed := missing(error)) is None:", "if (needed := missing(error)) is not None:",
        _TESTS + "test_a_command_whose_extra_is_missing_says_which_to_install",
    ),
    Mutation(
        "a missing extra is said", "installed", "outbox/cli/program.py",
        "needed or _defect(point, error)", "_defect(point, error)",
        _TESTS + "test_a_command_whose_extra_is_missing_says_which_to_install",
    ),
    Mutation(
        "what is missing of our own is a defect", "installed", "outbox/cli/extras.py",
        'or module.startswith("outbox")', "or False",
        _TESTS + "test_what_a_command_of_ours_cannot_find_of_our_own_is_a_defect",
    ),
]  # fmt: skip
