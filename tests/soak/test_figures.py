"""What grows is told, and what only wavers is not."""

from __future__ import annotations

from tests.soak.figures import KINDS, grown, quarters, table


def _samples(name: str, values: list[float]) -> list[dict[str, float]]:
    return [{**dict.fromkeys(KINDS, 1.0), name: value} for value in values]


def test_what_grows_after_the_first_quarter_is_told() -> None:
    [line] = grown(_samples("memory of the relay", [40.0, 50, 51, 52, 60, 61, 70, 71]))
    assert line == "memory of the relay: from 51.5 MB in the second quarter to 70.5 MB in the last one"


def test_what_grows_at_the_start_and_wavers_then_is_not() -> None:
    assert not grown(_samples("memory of the relay", [10.0, 40, 51, 49, 52, 50, 51, 53]))


def test_one_outlier_is_no_growth() -> None:
    assert not grown(_samples("connections to Redis", [9.0] * 11 + [90]))


def test_a_run_without_quarters_proves_nothing() -> None:
    few = _samples("messages", [1.0] * 3)
    assert quarters(few) == []
    assert grown(few)


def test_the_table_has_a_row_for_each_figure() -> None:
    rows = table(_samples("messages", [1200.0] * 4)).splitlines()
    assert len(rows) == 2 + len(KINDS)
    assert "| messages | 1,200 | 1,200 | 1,200 | 1,200 |" in rows
