"""Whatever stands in a variable: it is taken, or refused by name, and no other error comes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.errors import OutboxError, SettingsError
from outbox.printable import printable
from outbox.servers.connections import connect_mongo, connect_redis
from outbox.settings import Family, OutboxSettings, load
from outbox_api.settings import ApiSettings
from outbox_relay.settings import RelaySettings
from tests.strategies import examples, jsons, words

VARIABLES = [
    (family, setting.name)
    for family in (OutboxSettings, RelaySettings, ApiSettings)
    for setting in family.variables().values()
]
RIGHT = ("mongodb://127.0.0.1:9/db?replicaSet=a", "redis://:p@127.0.0.1:9/0", "[::1]:8000", "5", "1.5", "true")
STREAMS = [
    {"name": "s", "group": "g", "partitions": 2, "subject": {"collection": "c", "field": "f", "wanted": ["w"]},
     "retry": {"attempts": 3, "base_seconds": 1, "cap_seconds": 2}, "priorities": ["high"], "groups": ["h"]}
]  # fmt: skip


def values(name: str) -> st.SearchStrategy[str]:
    return words(*RIGHT) | jsons(STREAMS).map(json.dumps) if name == "OUTBOX_STREAMS" else words(*RIGHT)


@given(data=st.data())
@examples(150)
def test_every_setting_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch, data: st.DataObject) -> None:
    family, name = data.draw(st.sampled_from(VARIABLES))
    _try(monkeypatch, family, name, data.draw(values(name)))


@given(value=jsons(STREAMS))
@examples(80)
def test_every_declaration_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    _try(monkeypatch, OutboxSettings, "OUTBOX_STREAMS", json.dumps(value))


@given(data=st.data())
@examples(80)
async def test_every_address_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch, data: st.DataObject) -> None:
    names = [name for family, name in VARIABLES if family is OutboxSettings and name.startswith(("MONGODB_", "REDIS_"))]
    name = data.draw(st.sampled_from(names))
    settings = _try(monkeypatch, OutboxSettings, name, data.draw(values(name)))
    if isinstance(settings, OutboxSettings):
        for connect in (connect_mongo, connect_redis):
            try:
                async with connect(settings):
                    pass
            except OutboxError as error:
                str(error).encode()


def _try(monkeypatch: pytest.MonkeyPatch, family: type[Family], name: str, value: str) -> Family | None:
    with monkeypatch.context() as patch:
        patch.setenv(name, value)
        try:
            return load(family)
        except SettingsError as error:
            said = printable(str(error), keep_lines=True)
            assert name in said
            return None
