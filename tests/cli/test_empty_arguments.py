"""An empty argument is a variable of the shell that is not set: taken for none, it would select everything."""

from __future__ import annotations

import pytest

from outbox.message.document import State
from tests.cli.conftest import Cli, Shelf

AN_ID = "507f1f77bcf86cd799439011"
EVERYTHING = [
    ["dead", "discard", "--all", "--yes", "--stream"],
    ["dead", "retry", "--all", "--stream"],
    ["replay", "--since", "1d", "--yes", "--key"],
    ["replay", "--since", "1d", "--yes", "--stream"],
    ["replay", "--state", "completed", "--yes", "--file"],
    ["replay", "--since", "1d", "--yes", "--until"],
]


@pytest.mark.parametrize("apart", [True, False], ids=["--option ''", "--option="])
@pytest.mark.parametrize("command", EVERYTHING, ids=" ".join)
def test_a_command_does_not_act_on_everything(outbox: Cli, shelf: Shelf, command: list[str], apart: bool) -> None:
    ids = [id_ for state in State for id_ in shelf.put(state, 2)]
    before = shelf.states(*ids)
    result = outbox(*command, "") if apart else outbox(*command[:-1], f"{command[-1]}=")
    assert shelf.states(*ids) == before
    assert (result.code, result.out) == (2, "")
    assert "is empty, perhaps by a variable of the shell that is not set" in result.err
    assert result.err.count("\n") == 1
    assert outbox("audit", "--json").json["records"] == []


@pytest.mark.parametrize(
    "command",
    [
        ["streams", "remove", "", "--yes"],
        ["streams", "pause", "orders", "--reason", ""],
        ["dead", "list", "--stream="],
        ["dead", "retry", AN_ID, ""],
        ["jobs", "cancel", ""],
        ["audit", "--who", ""],
        ["enqueue", ""],
        ["relay", "--once", "--host="],
        ["worker", "--handler", ""],
        ["verify", "--redis-backup="],
        [""],
    ],
    ids=" ".join,
)
def test_it_is_a_mistake_in_usage_whatever_the_command(cli: Cli, command: list[str]) -> None:
    """Before any server is asked: none is there."""
    result = cli(*command)
    assert (result.code, "is empty" in result.err) == (2, True)


@pytest.mark.parametrize("key", ["aGVsbG8=", "YQ==", "="])
def test_a_value_may_end_as_those_in_base64_do(outbox: Cli, shelf: Shelf, key: str) -> None:
    [id_] = shelf.put(State.PUBLISHED, key=key)
    assert outbox("replay", f"--key={key}", "--yes").out == "selected 1, replayed 1\n"
    assert outbox("replay", "--key", key, "--yes").out == "selected 0, replayed 0\n"
    assert shelf.states(id_) == ["pending"]
