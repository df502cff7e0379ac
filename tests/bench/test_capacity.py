"""The calculation of what binds first."""

from __future__ import annotations

import pytest

from outbox.bench.capacity import Resource, capacity


def test_a_unit_is_used_to_three_quarters() -> None:
    relay = Resource("relay", "processes", 20, 1)
    assert relay.needed(37_500) == 1
    assert relay.needed(37_501) == 2
    assert Resource("mongodb", "shards", 75, 16).needed(160_000) == 1


@pytest.mark.parametrize(("relays", "told"), [(64, "enough: 27"), (26, "too few: 27")])
def test_a_million_a_second(relays: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    capacity(1e6, relays, 16, 30, 45, 20, 7, 500, 15)
    out = capsys.readouterr().out
    assert told in out
    assert "MongoDB: write and mark" in out
