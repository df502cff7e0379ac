"""docs/glossary.md has the states that there are, and names log events that are logged."""

from __future__ import annotations

import re

from outbox.message.document import State
from tests.docs.sources import log_events
from tests.documents import plain, section, tables

PAGE = "docs/glossary.md"


def test_the_states_are_those_of_messages() -> None:
    (table,) = tables(section("States of a message", PAGE))
    assert [plain(state) for state, *_ in table] == [state.value for state in State]


def test_the_log_events_are_logged() -> None:
    (table,) = tables(section("Log events", PAGE))
    named = {event for events, _ in table for event in re.findall(r"`([^`]+)`", events)}
    assert named
    assert named - set().union(*log_events().values()) == set()
