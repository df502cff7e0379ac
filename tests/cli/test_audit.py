from __future__ import annotations

from outbox.message.document import State
from tests.cli.conftest import Cli, Shelf


def test_what_was_done_by_command_is_told(outbox: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("error: broken", folder_id="x")
    retried, discarded = shelf.put(State.DEAD, 2)
    assert outbox("dead", "retry", retried).code == 0
    assert outbox("dead", "discard", discarded, "--yes").code == 0
    assert outbox("enqueue", file).code == 0
    shown = outbox("audit").out
    assert f"files: ['{file}']" in shown
    assert f"message: {retried}" in shown
    records = outbox("audit", "--json").json["records"]
    assert [record["action"] for record in records] == ["enqueue", "discard", "retry"]
    assert len(outbox("audit", "--action", "retry", "--json").json["records"]) == 1
    assert outbox("audit", "--who", "nobody", "--json").json["records"] == []


def test_more_than_a_page(outbox: Cli, shelf: Shelf) -> None:
    for id_ in shelf.put(State.DEAD, 3):
        outbox("dead", "retry", id_)
    first = outbox("audit", "--limit", 2, "--json").json
    assert len(first["records"]) == 2
    assert f"outbox audit --before {first['before']}" in outbox("audit", "--limit", 2).out
    assert len(outbox("audit", "--before", first["before"], "--json").json["records"]) == 1
    assert outbox("audit", "--before", "zz").code == 2
