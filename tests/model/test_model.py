"""The protocol keeps its promises in every world within the bounds, and each protection is one that it needs."""

from __future__ import annotations

import pytest

from .rules import Bounds, Rules
from .scenarios import MUTATIONS, SCENARIOS, SECOND_LINES, Mutation
from .search import search
from .telling import tell

SHORT = ("one of each", "a relay sleeps with what it was shown")
"""The others are run by `python -m tests.model`, and with the marker `slow`."""
SLEEPER = SCENARIOS["a relay sleeps while redis forgets"]


@pytest.mark.parametrize(
    "bounds",
    [pytest.param(SCENARIOS[s], id=s, marks=() if s in SHORT else pytest.mark.slow) for s in SCENARIOS],
)
def test_every_promise_holds_in_every_world(bounds: Bounds) -> None:
    found = search(Rules(), bounds)
    assert found.broken is None, "\n".join(tell(found, Rules(), bounds))
    assert found.worlds > 10_000


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[",".join(mutation.without) for mutation in MUTATIONS])
def test_a_protection_taken_out_breaks_a_promise(mutation: Mutation) -> None:
    found = search(mutation.rules, mutation.bounds)
    assert found.broken is not None
    assert found.broken.startswith(mutation.breaks)
    story = list(tell(found, mutation.rules, mutation.bounds))
    assert story[0].endswith("at first")
    assert story[-1].endswith(found.broken)


def test_all_protections_are_accounted_for() -> None:
    taken_out_alone = {mutation.without[0] for mutation in MUTATIONS if len(mutation.without) == 1}
    assert taken_out_alone | set(SECOND_LINES) == set(Rules._fields)


@pytest.mark.slow
@pytest.mark.parametrize("line", SECOND_LINES)
def test_a_second_line_is_one(line: str) -> None:
    for bounds in (SLEEPER._replace(keys=(0, 0)), Bounds(losses=2), Bounds(troubles=1, losses=1)):
        assert search(Rules()._replace(**{line: False}), bounds).broken is None


def test_a_relay_that_slept_is_stopped_by_the_token_too() -> None:
    """Without the chain check, with the token: what slept is refused. Without either, it is not."""
    assert search(Rules(chain=False), SLEEPER._replace(losses=0)).broken is None
    assert search(Rules(chain=False, token=False), SLEEPER._replace(losses=0)).broken is not None
