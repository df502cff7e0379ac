"""What CI leaves out where many cases of one kind take long; `python -m tests.long` tries all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

import pytest
from _pytest.mark.structures import ParameterSet

T = TypeVar("T")


def mostly(cases: Iterable[T], *, but: Collection[T]) -> list[T | ParameterSet]:
    """For `parametrize`: all cases are slow but those that stand for their kind. A tuple is several arguments."""
    return [case if case in but else _slow(*(case if isinstance(case, tuple) else (case,))) for case in cases]


def _slow(*values: object) -> ParameterSet:
    return pytest.param(*values, marks=pytest.mark.slow)
