"""`outbox streams pause` and `resume`."""

from __future__ import annotations

from tests.cli.conftest import Cli

NAME = "file_parsing_queue"


def test_pause_and_resume(outbox: Cli) -> None:
    done = outbox("streams", "pause", NAME, "--reason", "the parser is broken")
    assert (done.code, done.out.strip()) == (0, f"stream {NAME} is paused")
    again = outbox("streams", "pause", NAME)
    assert (again.code, again.out.strip()) == (0, f"stream {NAME} was paused already")
    (listed,) = outbox("streams", "list", "--json").json["streams"]
    assert listed["paused"]["reason"] == "the parser is broken"
    status = outbox("status", "--json").json
    assert status["paused"] == [listed["paused"]]
    shown = outbox("status").out
    assert f"outbox streams resume {NAME}" in shown
    (paused,) = outbox("audit", "--json", "--action", "pause-stream").json["records"]
    assert paused["details"] == {"stream": NAME, "reason": "the parser is broken"}
    resumed = outbox("streams", "resume", NAME)
    assert (resumed.code, resumed.out.strip()) == (0, f"stream {NAME} goes on")
    assert outbox("streams", "resume", NAME).out.strip() == f"stream {NAME} was not paused"
    assert outbox("status", "--json").json["paused"] == []


def test_what_cannot_be_paused(bare: Cli) -> None:
    unset = bare("streams", "pause", NAME)
    assert unset.code == 2
    assert "outbox init" in unset.err
    bare("init")
    unknown = bare("streams", "pause", "orders")
    assert unknown.code == 2
    assert NAME in unknown.err
    long = bare("streams", "pause", NAME, "--reason", "x" * 501)
    assert long.code == 2
    assert "501" in long.err
