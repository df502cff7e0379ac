"""What a repair says of each finding, where one check has several."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import LONG_AGO, found

ORDERS: dict[str, Any] = {
    "name": "orders", "group": "shop", "subject": {"collection": "orders", "field": "status", "wanted": "new"},
}  # fmt: skip


def test_a_finding_that_cannot_be_repaired_does_not_show_the_result_of_another_of_its_check(
    healthy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without a message is queued again; an order without one belongs to another program."""
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([ORDERS]))
    assert healthy("init").code == 0
    shelf.db.orders.insert_one({"status": "new"})
    shelf.put_file("queued", updated_at=LONG_AGO)
    assert found(healthy) == ["file-without-message"] * 2

    result = healthy("verify", "--repair", "--json")

    assert {each["what"].split()[3]: each["repaired"] for each in result.json["findings"]} == {
        "files": 1, "orders": None,
    }  # fmt: skip
    assert (result.code, "1 of " in result.err) == (1, True)

    shelf.put_file("queued", updated_at=LONG_AGO)
    shown = healthy("verify", "--repair")
    assert shown.code == 1
    told = {each.split()[3]: each for each in shown.out.split("! ")[1:]}
    assert "mend it" not in told["files"]
    assert "mend it: append a message for each, in the program that owns them\n" in told["orders"]
