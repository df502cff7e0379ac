"""Whatever stands in a variable: it is taken, or refused by name, and no other error comes."""

from __future__ import annotations

import json
from contextlib import suppress

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


@pytest.mark.parametrize("wanted", ['{"$oid": "z"}', '{"$date": "z"}', '{"$numberDecimal": "z"}', '{"$binary": 1}'])
def test_a_value_of_extended_json_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    subject = f'[{{"name": "s", "group": "g", "subject": {{"wanted": {wanted}}}}}]'
    assert _try(monkeypatch, OutboxSettings, "OUTBOX_STREAMS", subject) is None


def test_a_declaration_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _try(monkeypatch, OutboxSettings, "OUTBOX_STREAMS", "[" * 100_000) is None


@pytest.mark.parametrize(
    ("family", "name"),
    [(family, name) for family, name in VARIABLES if name.endswith(("_SECONDS", "_HOURS", "_DAYS", "_RATE"))],
)
@pytest.mark.parametrize("value", ["inf", "nan", "1e400", "1e12", "-1"])
def test_a_time_is_one_that_clocks_can_count(
    monkeypatch: pytest.MonkeyPatch, family: type[Family], name: str, value: str
) -> None:
    assert _try(monkeypatch, family, name, value) is None


@pytest.mark.parametrize("name", ["rescue_seconds", "handler_seconds", "ignore_groups_after_seconds", "retry"])
@pytest.mark.parametrize("value", ["1e400", "NaN", "1e12"])
def test_a_time_of_a_stream_is_one_that_clocks_can_count(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    seconds = f'{{"cap_seconds": {value}}}' if name == "retry" else value
    declared = f'[{{"name": "s", "group": "g", "{name}": {seconds}}}]'
    assert _try(monkeypatch, OutboxSettings, "OUTBOX_STREAMS", declared) is None


@pytest.mark.parametrize("name", ["MONGODB_DATABASE", "OUTBOX_DATABASE"])
@pytest.mark.parametrize("value", ["a.b", "a b", " ", "a/b", "a\\b", 'a"b', "$a", "ä" * 32, "admin", "local", "config"])
def test_a_database_has_a_name_that_it_can_have(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """MongoDB itself is not asked: what the driver says of such a name looks like an outage."""
    assert _try(monkeypatch, OutboxSettings, name, value) is None


@pytest.mark.parametrize("path", ["a%20b", "a%00b", "a%2Fb"])
def test_nor_can_a_path_name_any_other_and_it_is_not_shown(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("MONGODB_URI", f"mongodb://h/{path}?replicaSet=r")
    with pytest.raises(SettingsError, match="MONGODB_URI: what follows its hosts") as refused:
        load(OutboxSettings)
    assert path not in str(refused.value)


@pytest.mark.parametrize("rate", ["1000/second;5000/hour", "1/second,2/minute", "0/second", f"1/{'9' * 30} years"])
def test_a_rate_is_one(monkeypatch: pytest.MonkeyPatch, rate: str) -> None:
    assert _try(monkeypatch, ApiSettings, "OUTBOX_API_RATE_LIMIT", rate) is None


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
            settings = load(family)
        except SettingsError as error:
            said = printable(str(error), keep_lines=True)
            assert name in said
            return None
        if isinstance(settings, OutboxSettings):
            with suppress(SettingsError):  # of streams, which names the stream
                _ = settings.streams
        return settings
