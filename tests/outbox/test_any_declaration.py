"""Whatever kind of JSON stands in a place of OUTBOX_STREAMS: it is taken, or refused in one line."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from outbox.errors import SettingsError
from outbox.printable import printable
from outbox.settings import OutboxSettings, RetrySetting, StreamSetting, SubjectSetting, load
from tests.strategies import ANYTHING, examples, jsons

KINDS: list[Any] = [
    None, True, 0, -1, 1.5, 2**70, "", "a", "a\n", [], [None], [0], [""], ["a", "a"], [[]], [["a"]], ["a", ["a"]],
    [{}], [{"a": 1}], ["a", {}], {}, {"a": 1}, {"a": []}, {"": {}}, {"$oid": []}, [[["a"]]],
]  # fmt: skip
GROUPS: list[dict[str, Any]] = [{"group": "g"}, {"groups": ["h"]}, {"group": "g", "groups": ["h", "i"]}, {}]


def refused(monkeypatch: pytest.MonkeyPatch, declared: object) -> str:
    """Why, or nothing. Any other error would reach whoever set the variable as a traceback."""
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps(declared))
    try:
        _ = load(OutboxSettings).streams
    except SettingsError as error:
        told = printable(str(error), keep_lines=True)
        assert "\n" not in told
        return told
    return ""


@pytest.mark.parametrize("groups", GROUPS, ids=lambda groups: " and ".join(groups) or "no group")
@pytest.mark.parametrize(
    ("inside", "model"), [(None, StreamSetting), ("subject", SubjectSetting), ("retry", RetrySetting)]
)
def test_each_property_of_each_kind(
    monkeypatch: pytest.MonkeyPatch, inside: str | None, model: type[BaseModel], groups: dict[str, Any]
) -> None:
    for name, value in product([*model.model_fields, "unknown"], KINDS):
        given = {name: value}
        refused(monkeypatch, [{"name": "s", **groups, **({inside: given} if inside else given)}])


@pytest.mark.parametrize("declared", [*KINDS, *([one] for one in KINDS)], ids=json.dumps)
def test_a_declaration_that_is_none(monkeypatch: pytest.MonkeyPatch, declared: object) -> None:
    assert "OUTBOX_STREAMS" in refused(monkeypatch, declared)


@pytest.mark.parametrize("groups", [[["a"]], [{"a": 1}], ["a", []], [1], [None], {"a": 1}, 1, "a"], ids=json.dumps)
@pytest.mark.parametrize("group", [{}, {"group": "g"}], ids=["alone", "beside group"])
def test_groups_that_are_no_names_are_refused_where_they_stand(
    monkeypatch: pytest.MonkeyPatch, groups: object, group: dict[str, str]
) -> None:
    assert "OUTBOX_STREAMS[0].groups" in refused(monkeypatch, [{"name": "s", "groups": groups, **group}])


@given(groups=st.lists(ANYTHING, max_size=3) | jsons(["h", "i"]), group=st.just("g") | ANYTHING)
@examples(100)
def test_groups_of_any_kinds(monkeypatch: pytest.MonkeyPatch, groups: object, group: object) -> None:
    for named in ({"groups": groups}, {"groups": groups, "group": group}):
        refused(monkeypatch, [{"name": "s", **named}])
