"""docs/operations.md has an entry for each finding, alert, log event and error that there is, and for no other."""

from __future__ import annotations

import inspect
import re

import pytest

from outbox import errors
from tests.docs.sources import UNREAD, findings, log_events, unread
from tests.documents import PAGES, anchors, plain, section, tables
from tests.test_metrics import RULES

PAGE = "docs/operations.md"
ONLY_ROOTS = {"OutboxError", "UsageError", "FilesError"}
OF_THE_DEMONSTRATION = "entry without a file"


def test_every_finding_has_a_heading() -> None:
    assert findings()
    assert set(re.findall(r"^#### (.*)$", section("Findings", PAGE), re.MULTILINE)) == findings()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_has_an_anchor(rule: dict[str, str]) -> None:
    assert rule["alert"].lower() in anchors(PAGES[PAGE])


def test_there_are_no_other_alerts() -> None:
    (table,) = tables(section("Alerts", PAGE))
    assert {re.sub("<.*>", "", row[0]).strip("`") for row in table} == {rule["alert"] for rule in RULES}


def test_every_log_event_that_needs_attention_is_explained_and_each_explained_one_is_logged() -> None:
    rows = [row for table in tables(section("Log events", PAGE)) for row in table]
    explained = {plain(re.sub("<.*>", "", event)) for event, *_ in rows}
    logged = log_events()
    assert (logged["warning"] | logged["error"] | logged["exception"]) - explained - {OF_THE_DEMONSTRATION} == set()
    assert explained - set().union(*logged.values()) == set()


def test_no_log_event_is_said_in_words_that_are_not_read() -> None:
    assert unread() == UNREAD.keys()


def test_every_error_is_explained() -> None:
    table = tables(section("Errors", PAGE))[1]
    kinds = dict(inspect.getmembers(errors, inspect.isclass))
    raised = {name for name, kind in kinds.items() if issubclass(kind, errors.OutboxError)} - ONLY_ROOTS
    assert {plain(name) for name, *_ in table} == raised
