"""Where OUTBOX_STREAMS is not set, nothing is declared: what is registered stays as it is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from outbox.cli.up import _set_up
from outbox.settings import OutboxSettings, load
from tests.cli.conftest import Cli, Shelf

SUBJECT = {"collection": "files", "field": "parsing", "wanted": "queued"}
FILES: dict[str, Any] = {
    "name": "file_parsing_queue", "group": "parsers", "trim": False, "rescue_seconds": 7200, "partitions": 8,
    "priorities": ["high"], "subject": SUBJECT,
}  # fmt: skip
ORDERS: dict[str, Any] = {"name": "orders", "group": "shop", "retry": {"attempts": 9}}


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda *streams: monkeypatch.setenv("OUTBOX_STREAMS", json.dumps(streams))


def registered(shelf: Shelf) -> list[dict[str, Any]]:
    return list(shelf.db.outbox_streams.find().sort("_id"))


@pytest.mark.parametrize("arguments", [["init"], ["init", "--files"]], ids=" ".join)
def test_init_without_a_declaration_changes_nothing_that_is_registered(
    bare: Cli, shelf: Shelf, declare: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """The documents say to run it after each update, and the shell of the update may not have the variable."""
    declare(FILES, ORDERS)
    monkeypatch.setenv("OUTBOX_REDIS_PREFIX", "staging:")
    assert bare("init", "--files").code == 0
    before = registered(shelf)
    monkeypatch.delenv("OUTBOX_STREAMS")
    monkeypatch.delenv("OUTBOX_REDIS_PREFIX")
    assert "would have" not in bare(*arguments, "--dry-run").out
    assert bare(*arguments).out.endswith("is set up; there was nothing to do\n")
    assert registered(shelf) == before


def test_init_without_a_declaration_adds_the_stream_that_the_files_application_needs(
    bare: Cli, shelf: Shelf, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(ORDERS)
    monkeypatch.setenv("OUTBOX_REDIS_PREFIX", "staging:")
    assert bare("init").code == 0
    [orders] = registered(shelf)
    monkeypatch.delenv("OUTBOX_STREAMS")
    monkeypatch.delenv("OUTBOX_REDIS_PREFIX")
    assert "registered stream file_parsing_queue\n" in bare("init", "--files").out
    added, same = registered(shelf)
    assert same == orders
    assert (added["_id"], added["prefix"]) == ("file_parsing_queue", "staging:")
    assert bare("status").code == 0


@pytest.mark.parametrize("arguments", [["init"], ["init", "--files"]], ids=" ".join)
def test_a_prefix_can_be_given_to_all_streams_without_declaring_them(
    bare: Cli, shelf: Shelf, declare: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    declare(FILES, ORDERS)
    assert bare(*arguments).code == 0
    before = registered(shelf)
    monkeypatch.delenv("OUTBOX_STREAMS")
    monkeypatch.setenv("OUTBOX_REDIS_PREFIX", "staging:")
    told = [f"stream {one['_id']}: prefix is 'staging:' now, and was ''" for one in before]
    assert bare(*arguments, "--dry-run", "--json").json["planned"] == told
    assert registered(shelf) == before
    assert bare(*arguments, "--json").json["done"] == told
    assert registered(shelf) == [one | {"prefix": "staging:", "revision": 2} for one in before]
    monkeypatch.setenv("OUTBOX_REDIS_PREFIX", "other:")
    refused = bare(*arguments)
    assert (refused.code, "'staging:' is registered: set it to that" in refused.err) == (2, True)


def test_a_change_as_declared_needs_a_declaration(
    bare: Cli, shelf: Shelf, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(FILES)
    assert bare("init").code == 0
    before = registered(shelf)
    monkeypatch.delenv("OUTBOX_STREAMS")
    refused = bare("streams", "change", "file_parsing_queue", "--as-declared", "--programs-stopped")
    assert (refused.code, "OUTBOX_STREAMS is not set here" in refused.err) == (2, True)
    assert registered(shelf) == before


def test_outbox_up_without_a_declaration_changes_nothing_that_is_registered(
    bare: Cli, shelf: Shelf, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(FILES, ORDERS)
    asyncio.run(_set_up(load(OutboxSettings)))
    before = registered(shelf)
    assert len(before) == 2
    monkeypatch.delenv("OUTBOX_STREAMS")
    asyncio.run(_set_up(load(OutboxSettings)))
    assert registered(shelf) == before
