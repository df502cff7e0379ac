from __future__ import annotations

import shlex

from outbox.message.document import State
from tests.cli.conftest import Cli, Shelf


def test_what_was_done_by_command_is_told(with_files: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("error: broken", folder_id="x")
    retried, discarded = shelf.put(State.DEAD, 2)
    assert with_files("dead", "retry", retried).code == 0
    assert with_files("dead", "discard", discarded, "--yes").code == 0
    assert with_files("enqueue", file).code == 0
    shown = with_files("audit").out
    assert f"files: ['{file}']" in shown
    assert f"message: {retried}" in shown
    records = with_files("audit", "--json").json["records"]
    assert [record["action"] for record in records] == ["enqueue", "discard", "retry"]
    assert len(with_files("audit", "--action", "retry", "--json").json["records"]) == 1
    assert with_files("audit", "--who", "nobody", "--json").json["records"] == []


def test_more_than_a_page(with_files: Cli, shelf: Shelf) -> None:
    for id_ in shelf.put(State.DEAD, 3):
        with_files("dead", "retry", id_)
    first = with_files("audit", "--limit", 2, "--json").json
    assert len(first["records"]) == 2
    assert f"outbox audit --before {first['before']}" in with_files("audit", "--limit", 2).out
    assert len(with_files("audit", "--before", first["before"], "--json").json["records"]) == 1
    assert with_files("audit", "--before", "zz").code == 2


def test_the_next_page_is_of_the_same(outbox: Cli, shelf: Shelf) -> None:
    ids = shelf.put(State.DEAD, 3)
    for id_ in ids:
        outbox("dead", "retry", id_)
    outbox("dead", "discard", *shelf.put(State.DEAD), "--yes")
    who = outbox("audit", "--json").json["records"][0]["who"]
    shown = outbox("audit", "--action", "retry", "--who", who, "--limit", 2).out
    [more] = [line.partition(": outbox ")[2] for line in shown.splitlines() if line.startswith("There are more")]
    assert "--action retry" in more
    rest = outbox(*shlex.split(more), "--json").json["records"]
    assert [record["details"]["message"] for record in rest] == [str(ids[0])]
    assert f"--who {who}" in more
