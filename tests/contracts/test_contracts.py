"""A change of what other programs rely on fails here, and says how to version it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pydantic
import pytest
import typer

from outbox.cli import program
from outbox.settings import Family, OutboxSettings, load
from outbox_api.app import create_app
from outbox_api.settings import ApiSettings
from outbox_relay.settings import RelaySettings
from tests.contracts.record import explain, hold
from tests.test_metrics import families, told

AS_RECORDED = pytest.mark.skipif(
    tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 14),
    reason="an earlier pydantic writes the same schema otherwise",
)
PROSE = {"description", "summary", "title", "examples", "example"}


@AS_RECORDED
def test_settings() -> None:
    hold("settings", {kind.__name__: dict(_variables(kind)) for kind in (OutboxSettings, RelaySettings, ApiSettings)})


def _variables(settings: type[Family]) -> Iterator[tuple[str, Any]]:
    schema = _without_prose(settings.model_json_schema())
    for field, setting in settings.variables().items():
        yield setting.name, {"also": setting.old, "secret": setting.secret, **schema["properties"][field]}
    yield from schema.get("$defs", {}).items()


def test_commands() -> None:
    hold("commands", dict(_commands(typer.main.get_command(program.app), "outbox")))


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    context = typer.Context(command)
    if hasattr(command, "list_commands"):
        for inner in command.list_commands(context):
            yield from _commands(command.get_command(context, inner), f"{name} {inner}")
        return
    yield name, {" ".join([*option.opts, *option.secondary_opts]): _option(option) for option in command.params}


def _option(option: Any) -> Any:
    default = None if callable(option.default) or option.default in (None, []) else str(option.default)
    many = bool(getattr(option, "multiple", False)) or option.nargs != 1
    flag = bool(getattr(option, "is_flag", False))
    return {"required": option.required, "many": many, "flag": flag, "default": default}


def test_commands_with_json_are_recorded() -> None:
    from tests.contracts.test_servers import NOT_RECORDED, RECORDED

    commands = dict(_commands(typer.main.get_command(program.app), "outbox"))
    with_json = {name.removeprefix("outbox ") for name, options in commands.items() if "--json" in options}
    assert with_json - RECORDED == NOT_RECORDED


@AS_RECORDED
def test_http(monkeypatch: pytest.MonkeyPatch) -> None:
    document = create_app(load(ApiSettings), load(OutboxSettings)).openapi()
    hold("http", _without_prose({name: document[name] for name in ("paths", "components")}))


def _without_prose(value: Any, *, names: bool = False) -> Any:
    """`names`: the keys of this one are names of fields, which may be called like prose."""
    if isinstance(value, dict):
        return {
            name: _without_prose(inner, names=name == "properties")
            for name, inner in value.items()
            if names or name not in PROSE
        }
    return [_without_prose(inner) for inner in value] if isinstance(value, list) else value


def test_metrics() -> None:
    hold("metrics", {name: {"type": kind, "labels": labels} for name, kind, labels in map(told, families())})


def test_an_addition_is_to_be_recorded() -> None:
    said = explain("settings", {"A": {"default": "1"}}, {"A": {"default": "1"}, "B": {"default": "2"}})
    assert "+ B › default" in said
    assert "Added only" in said
    assert "python -m tests.contracts" in said


@pytest.mark.parametrize("now", [{}, {"A": {"default": "2"}}, {"B": {"default": "1"}}, {"A": {"default": ["1"]}}])
def test_a_break_is_to_be_versioned(now: Any) -> None:
    said = explain("settings", {"A": {"default": "1"}}, now)
    assert "- A › default" in said
    assert "major version" in said
