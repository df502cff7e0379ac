from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
import typer

from outbox import errors
from outbox.cli import main, program
from outbox.cli.failures import explain
from tests.cli.conftest import Cli


def test_help_names_every_command(cli: Cli) -> None:
    result = cli("--help")
    assert result.code == 0
    for name in ("up", "api", "relay", "init", "status", "replay", "dead", "enqueue", "key", "worker"):
        assert f"│ {name} " in result.out
    assert "Cannot be loaded" not in result.out


def test_a_secret_that_cannot_be_read_is_a_wrong_use(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD_FILE", "/no/such/file")
    for command in ("init", "status", "relay", "api", "worker --handler no:one"):
        result = cli(*command.split())
        assert result.code == 2
        assert result.err == "error: REDIS_PASSWORD_FILE: /no/such/file cannot be read: No such file or directory\n"


@pytest.mark.parametrize(
    "command",
    [
        "init",
        "status",
        "replay",
        "enqueue",
        "dead list",
        "dead show",
        "dead retry",
        "dead discard",
        "key new",
        "up",
        "worker",
    ],
)
def test_the_help_of_every_command_has_an_example(command: str, cli: Cli) -> None:
    result = cli(*command.split(), "--help")
    assert result.code == 0
    assert f"outbox {command}" in result.out.partition("Example")[2]


@pytest.mark.parametrize("command", ["replay", "streams pause"])
def test_help_fills_the_lines_of_a_narrow_terminal(command: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docstring's own line ends would leave every second line half empty."""
    monkeypatch.setenv("COLUMNS", "80")
    text = cli(*command.split(), "--help").out.partition("Example")[0]
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        *lines, _ = paragraph.splitlines()
        assert all(len(line.rstrip()) > 55 for line in lines), paragraph


def test_a_mistyped_command_is_told_the_nearest(cli: Cli) -> None:
    result = cli("repaly")
    assert result.code == 2
    assert "Did you mean 'replay'" in result.err


def test_it_runs_as_a_module_and_as_a_program(tmp_path: Path) -> None:
    for command in ([sys.executable, "-m", "outbox"], [str(Path(sys.executable).with_name("outbox"))]):
        done = subprocess.run([*command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("outbox-relay ")


@pytest.mark.parametrize(
    "command", [["status"], ["status", "--json"], ["init"], ["dead", "list"], ["replay", "--since", "2h", "--yes"]]
)
def test_without_servers_the_address_is_told_and_what_to_do_and_no_secret(command: list[str], cli: Cli) -> None:
    result = cli(*command)
    assert result.code == 3
    assert "MongoDB at mongodb://127.0.0.1:9 cannot be reached" in result.err
    assert "outbox up" in result.err
    assert "s3cr3t" not in result.err
    assert result.err.count("\n") == 1
    assert result.out == ""


@pytest.mark.parametrize("command", [["status"], ["enqueue", "65a1f0c2e4b0a1b2c3d4e5f6"], ["dead", "retry", "--all"]])
def test_a_database_that_was_not_set_up_is_told_how_to(command: list[str], bare: Cli) -> None:
    result = bare(*command)
    assert result.code == 1
    assert "Run: outbox init" in result.err


def test_a_misspelt_setting_is_a_usage_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOX_RETENTION_DAY", "1")
    result = cli("status")
    assert result.code == 2
    assert "OUTBOX_RETENTION_DAYS" in result.err


def test_a_server_that_refuses_us_is_told_apart_from_one_that_is_away(
    bare: Cli, monkeypatch: pytest.MonkeyPatch, mongodb_uri: str
) -> None:
    monkeypatch.setenv("MONGODB_URI", mongodb_uri.replace("mongodb://", "mongodb://user:s3cr3t@"))
    result = bare("status")
    assert result.code == 1
    assert "refuses" in result.err
    assert "s3cr3t" not in result.err


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def defect() -> None:
        raise ZeroDivisionError

    plug_in(monkeypatch, "defect", defect)
    with pytest.raises(ZeroDivisionError):
        main(["defect"])


TARGET: Any = None
"""What a test registers as a command."""


def plug_in(monkeypatch: pytest.MonkeyPatch, name: str, target: Any) -> None:
    """As if another package had registered the command."""
    monkeypatch.setattr(f"{__name__}.TARGET", target)
    point = EntryPoint(name, f"{__name__}:TARGET", program.GROUP)
    monkeypatch.setattr(program, "entry_points", lambda **_: EntryPoints([point]))


def test_a_package_can_bring_a_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def greet(name: str, loud: bool = False) -> None:
        """Say hello."""
        typer.echo(f"hello {name}{'!' if loud else ''}")

    plug_in(monkeypatch, "greet", greet)
    assert cli("greet", "you", "--loud").out == "hello you!\n"
    assert "Say hello." in cli("--help").out
    assert "Did you mean 'greet'" in cli("great").err


def test_a_package_can_bring_a_group_of_commands(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    app.command("one")(lambda: typer.echo("1"))
    app.command("two")(lambda: typer.echo("2"))
    plug_in(monkeypatch, "count", app)
    assert cli("count", "two").out == "2\n"


def test_a_broken_package_breaks_its_own_command_only(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("broken", "no.such.module:app", program.GROUP)
    monkeypatch.setattr(program, "entry_points", lambda **_: EntryPoints([point]))
    result = cli("broken", "--any", "argument")
    assert result.code == 1
    assert "`outbox broken` (no.such.module:app) cannot be loaded: ModuleNotFoundError" in result.err
    assert cli("--help").code == 0
    assert cli("replay", "--help").code == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Unreachable("Redis", "redis://h:1", "refused"), 3),
        (ExceptionGroup("of a task group", [errors.Unreachable("mongodb", "its address", "no answer")]), 3),
        (errors.SettingsError("x"), 2),
        (errors.UndeclaredStream("x"), 2),
        (errors.NoSuchMessage("x"), 1),
        (errors.NoSuchFile(["x"]), 1),
        (errors.SchemaError("x"), 1),
        (errors.CommitUnknown("x"), 1),
    ],
)
def test_every_error_has_its_exit_code(error: BaseException, code: int) -> None:
    failure = explain(error)
    assert failure
    assert failure.code == code
    assert failure.text


def test_what_is_not_known_is_not_explained() -> None:
    assert explain(ValueError("a defect")) is None
    assert explain(ExceptionGroup("two", [errors.SchemaError("x"), ValueError("a defect")])) is None


@pytest.mark.parametrize("groups", ['[["a"]]', '[{"a": 1}]', "[1]", "[null]", '{"a": 1}', '["a", []]'])
@pytest.mark.parametrize("command", [["status"], ["init"], ["dead", "list"], ["verify"]], ids=" ".join)
def test_a_malformed_declaration_is_a_mistake_in_usage_told_in_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: list[str], groups: str
) -> None:
    monkeypatch.setenv("OUTBOX_STREAMS", f'[{{"name": "orders", "group": "shop", "groups": {groups}}}]')
    result = cli(*command)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert "OUTBOX_STREAMS[0].groups" in result.err


@pytest.mark.parametrize(
    "arguments", [["dead", "list", "--stream", "caf\udce9"], ["caf\udce9"], ["audit", "--who", "\udcff"]]
)
def test_an_argument_that_is_not_utf8_is_a_mistake_in_usage(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert result.code == 2
    assert "is not UTF-8" in result.err
    assert result.err.encode().decode().replace("\n", "").isprintable()
