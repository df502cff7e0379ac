from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox import UsageError
from outbox.operations import moments
from tests.strategies import examples

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("30m", NOW - timedelta(minutes=30)),
        ("1d", NOW - timedelta(days=1)),
        ("2w", NOW - timedelta(weeks=2)),
        ("90s", NOW - timedelta(seconds=90)),
        ("1.5h", NOW - timedelta(minutes=90)),
        ("1d12h", NOW - timedelta(hours=36)),
        ("2h ago", NOW - timedelta(hours=2)),
        ("1d 12h ago", NOW - timedelta(hours=36)),
        ("2H", NOW - timedelta(hours=2)),
        ("now", NOW),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T14:00", datetime(2026, 1, 31, 14, tzinfo=UTC)),
        ("2026-01-31 14:00", datetime(2026, 1, 31, 14, tzinfo=UTC)),
        ("2026-01-31T14:00:30.5Z", datetime(2026, 1, 31, 14, 0, 30, 500_000, tzinfo=UTC)),
        ("2026-01-31T14:00+02:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        (" 2026-01-31 ", datetime(2026, 1, 31, tzinfo=UTC)),
    ],
)
def test_what_can_be_typed(text: str, moment: datetime) -> None:
    assert moments.read_at(text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2", "h", "-2h", "2x", "2026-13-01", "2026-02-30", "9999999999w", "2h3"]
)
def test_what_is_no_time_is_refused_with_what_can_be_typed(text: str) -> None:
    with pytest.raises(UsageError, match=r"2h, 30m, 1d.*2026-01-31"):
        moments.read_at(text, NOW)


@given(st.text() | st.from_regex(r"[0-9.smhdw -]+", fullmatch=True))
@examples(100)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert moments.read_at(text, NOW).tzinfo is UTC
    except UsageError:
        return


@given(st.datetimes(timezones=st.just(UTC)))
@examples(100)
def test_what_is_written_in_iso_is_read_back(moment: datetime) -> None:
    assert moments.read_at(moment.isoformat(), NOW) == moment


def test_a_moment_is_shown_in_utc() -> None:
    assert moments.show(datetime.fromisoformat("2026-01-31T14:00:00+02:00")) == "2026-01-31 12:00:00Z"
    assert moments.show(None) == ""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (12.3, "12 s"),
        (59.9, "60 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (7800, "2 h 10 min"),
        (3 * 86400 + 7300, "3 d 2 h"),
    ],
)
def test_a_length_of_time_is_shown_for_people(seconds: float | None, shown: str) -> None:
    assert moments.show_seconds(seconds) == shown
