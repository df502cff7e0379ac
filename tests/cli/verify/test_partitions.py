"""Partitions and their relays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bson import Timestamp

from outbox.message.document import State
from outbox.protocol.tags import new_tag
from outbox.streams.declaration import FILE_STREAM
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import (
    CHECKPOINT,
    LONG_AGO,
    found,
    listed,
    mended_by_a_relay,
    mended_by_repair,
    only,
    published,
)
from tests.cli.verify.test_repairing import results
from tests.outbox.shelf import a_document


def test_a_partition_that_redis_has_lost(healthy: Cli, shelf: Shelf, redis: Any, tmp_path: Path) -> None:
    published(shelf, redis)
    redis.delete(CHECKPOINT)
    finding = only(healthy, "redis-behind")
    assert "outbox relay" in finding["mend"]
    mended_by_a_relay(shelf, tmp_path)
    assert found(healthy) == []


@pytest.mark.parametrize(
    ("checkpoint", "check"),
    [
        ({"token": 1, "batch": 3, "tag": "x"}, "redis-ahead"),
        ({"token": 1, "batch": 1, "tag": "x"}, "other-history"),
        ({"token": 9, "batch": 1, "tag": "t"}, "token-ahead"),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    checkpoint: dict[str, Any], check: str, healthy: Cli, shelf: Shelf, redis: Any, tmp_path: Path
) -> None:
    published(shelf, redis)
    redis.hset(CHECKPOINT, mapping=checkpoint)
    only(healthy, check)
    mended_by_a_relay(shelf, tmp_path)
    assert found(healthy) == []


def test_a_batch_that_was_published_and_not_marked_yet_is_under_way(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    published(shelf, redis)
    redis.hset(CHECKPOINT, mapping={"batch": 2, "tag": "x"})
    assert found(healthy) == []


def test_batches_that_were_published_and_are_marked_together_are_under_way(
    healthy: Cli, shelf: Shelf, redis: Any
) -> None:
    published(shelf, redis)
    tags = [new_tag() for _ in range(4)]
    shelf.db.outbox_partitions.update_one({"_id": f"{FILE_STREAM}/0"}, {"$set": {"tag": tags[0]}})
    redis.hset(CHECKPOINT, mapping={"batch": 4, "tag": tags[3], "previous": "".join(tags[:3])})
    assert found(healthy) == []
    redis.hset(CHECKPOINT, "previous", "".join(tags[1:3]))
    only(healthy, "redis-ahead")
    redis.hset(CHECKPOINT, "previous", "".join(new_tag() for _ in range(3)))
    only(healthy, "redis-ahead")


def test_messages_of_a_batch_above_the_lease(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    published(shelf, redis)
    shelf.db.outbox.update_many({"state": "published"}, {"$set": {"batch": 7}})
    message = shelf.db.outbox.find_one({"state": "published"}, {"_id": 1})
    assert message
    assert str(message["_id"]) in only(healthy, "batch-above-lease")["mend"]


@pytest.mark.parametrize(
    "odd",
    [
        {"batch": float("inf")},
        {"batch": 7.5},
        {"batch": 2**62},
        {"batch": 7, "attempts": "many"},
        {"batch": 7, "_id": 7},
    ],
    ids=str,
)
def test_what_others_wrote_tells_nothing_of_batches(
    odd: dict[str, Any], healthy: Cli, shelf: Shelf, redis: Any
) -> None:
    """The remedy would be to restore, and lose what is well."""
    published(shelf, redis)
    written = {**a_document(State.PUBLISHED, partition=0), **odd}
    shelf.db.get_collection("outbox").insert_one(written, bypass_document_validation=True)
    assert "batch-above-lease" not in found(healthy)
    # Beside it, one of ours is found.
    shelf.db.outbox.update_many({"_id": {"$ne": written["_id"]}, "state": "published"}, {"$set": {"batch": 9}})
    assert "batch-above-lease" in found(healthy)


def test_what_has_been_pending_for_long(healthy: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("queued")
    [id_] = shelf.put(State.PENDING, key=str(file))
    shelf.db.outbox.update_one({"_id": id_}, {"$set": {"position": Timestamp(int(LONG_AGO.timestamp()), 1)}})
    only(healthy, "pending-old")
    assert found(healthy, "--pending", "3h") == []


def test_no_relay_and_what_it_leaves_undone(healthy: Cli, shelf: Shelf) -> None:
    shelf.db.outbox_relays.delete_many({})
    only(healthy, "no-relay")
    listed(shelf)
    file = shelf.put_file("queued")
    [due] = shelf.put(State.SCHEDULED, key=str(file))
    only(healthy, "overdue")
    mended_by_repair(healthy, "overdue")
    assert shelf.states(due) == ["pending"]


def test_strays(healthy: Cli, shelf: Shelf) -> None:
    [id_] = shelf.put(State.PENDING, stream="nowhere")
    only(healthy, "stray")
    assert results(healthy) == (1, [("stray", 1, False), ("dead", None, True)])
    assert shelf.states(id_) == ["dead"]


def test_a_partition_whose_stream_is_registered_no_more(
    healthy: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("OUTBOX_STREAMS", json.dumps([{"name": "exports", "group": "exporters", "partitions": 8}]))
        assert healthy("init").code == 0
    shelf.put(State.PENDING, stream="exports", partition=7)
    assert found(healthy) == []
    shelf.db.outbox_streams.delete_one({"_id": "exports"})
    only(healthy, "undeclared")


def test_a_stream_that_cannot_be_looked_at_keeps_no_other_check_from_being_made(healthy: Cli, redis: Any) -> None:
    redis.set(FILE_STREAM, "another program's")
    found = healthy("verify", "--json").json["findings"]
    refused = [finding for finding in found if finding["check"] == "not-checked"]
    assert refused
    for finding in refused:
        assert FILE_STREAM in finding["what"] or "another program" in finding["what"]
        assert "TYPE" in finding["mend"]
