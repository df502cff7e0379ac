"""A stream whose workers delete what they have done, and which is declared so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outbox.streams.declaration import FILE_GROUP, FILE_STREAM
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import found, only, published


@pytest.fixture
def declared(healthy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Cli:
    stream = {"name": FILE_STREAM, "group": FILE_GROUP, "gone_is_done": True}
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([stream]))
    shelf.db.outbox_streams.delete_many({})
    assert healthy("init").code == 0
    shelf.db.files.delete_many({})
    return healthy


def deleted_by_its_worker(redis: Any) -> None:
    [[_, [(entry, _)]]] = redis.xreadgroup(FILE_GROUP, "w", {FILE_STREAM: ">"}, count=1)
    redis.xack(FILE_STREAM, FILE_GROUP, entry)
    redis.xdel(FILE_STREAM, entry)


def test_what_its_worker_deleted_is_nothing_to_warn_of(declared: Cli, shelf: Shelf, redis: Any) -> None:
    """A relay completes it after rescue_seconds. Published again, it would be done twice."""
    published(shelf, redis, 2)
    deleted_by_its_worker(redis)
    assert [one for one in declared("status", "--json").json["redis"]["warnings"] if "no entry any more" in one] == []
    assert found(declared) == []


def test_what_no_relay_can_complete_is_found_all_the_same(declared: Cli, shelf: Shelf, redis: Any) -> None:
    """An older version published it, and did not record where it stands."""
    gone, _ = published(shelf, redis, 2)
    shelf.db.outbox.update_one({"_id": gone}, {"$unset": {"entries": ""}})
    deleted_by_its_worker(redis)
    assert only(declared, "entry-unaccounted")["examples"] == [str(gone)]
