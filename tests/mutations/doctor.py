"""Protections of `outbox doctor`: what it must not overlook, and must not do."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_CHECKS = "tests/cli/doctor/test_checks.py::"
_RIGHTS = "tests/cli/doctor/test_rights.py::"

MUTATIONS = [
    Mutation(
        "a danger ends with exit code 1", "doctor", "outbox/cli/doctor.py",
        "    if dangers:\n", "    if False:\n",
        _CHECKS + "test_an_index_that_is_missing",
    ),
    Mutation(
        "the most dangerous comes first", "doctor", "outbox/operations/doctor/__init__.py",
        "return sorted(findings, key=lambda finding: finding.level.rank)", "return findings[::-1]",
        "tests/cli/doctor/test_ten_misconfigurations.py::test_ten_misconfigurations_and_the_way_back",
    ),
    Mutation(
        "looking for rights adds no entry", "doctor", "outbox/operations/doctor/rights.py",
        '"NOMKSTREAM", "*", "field")', '"*", "field", "value")',
        _RIGHTS + "test_looking_for_rights_writes_nothing",
    ),
    Mutation(
        "a right that is missing is noticed", "doctor", "outbox/operations/doctor/rights.py",
        "except NoPermissionError:\n        return False", "except NoPermissionError:\n        return True",
        _RIGHTS + "test_the_users_of_the_documents_have_the_rights",
    ),
    Mutation(
        "a server that is away does not keep the rest from being looked at", "doctor",
        "outbox/operations/doctor/__init__.py",
        "        if not check.needs & away:", "        if not away:",
        _CHECKS + "test_a_server_that_is_away_is_a_finding_and_the_other_is_looked_at",
    ),
]  # fmt: skip
