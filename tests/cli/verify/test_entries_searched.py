"""How often verify searches through a stream for entries that are not where it is recorded."""

from __future__ import annotations

from typing import Any

import pytest

from outbox.cli import verify as command
from outbox.message.document import State
from outbox.operations.verify import entries
from outbox.streams.declaration import FILE_GROUP, FILE_STREAM
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import CHECKPOINT, LONG_AGO
from tests.outbox.shelf import a_document

BATCHES, BATCH = 20, 50


@pytest.fixture
def holed(healthy: Cli, shelf: Shelf, redis: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Many batches, from each of which one entry is deleted; the ids of those messages. A page is one batch."""
    monkeypatch.setattr(entries, "PAGE", BATCH)
    monkeypatch.setattr(entries, "CHUNK", BATCH)
    lost = []
    for batch in range(1, BATCHES + 1):
        files = [shelf.put_file("queued", updated_at=LONG_AGO) for _ in range(BATCH)]
        messages = [a_document(State.PUBLISHED, key=str(file), partition=0, batch=batch, tag="t") for file in files]
        with redis.pipeline() as pipe:
            for message in messages:
                pipe.xadd(FILE_STREAM, {"file_id": message["key"], "message_id": str(message["_id"]), "attempt": "1"})
            ids = pipe.execute()
        for message in messages:
            message["entries"] = {"first": ids[0], "last": ids[-1]}
        shelf.db.outbox.insert_many(messages)
        redis.xdel(FILE_STREAM, ids[BATCH // 2])
        lost.append(str(messages[BATCH // 2]["_id"]))
    lease = {"batch": BATCHES, "tag": "t", "token": 1}
    shelf.db.outbox_partitions.update_one({"_id": f"{FILE_STREAM}/0"}, {"$set": lease})
    redis.hset(CHECKPOINT, mapping=lease)
    redis.xgroup_create(FILE_STREAM, FILE_GROUP, "0")
    return lost


def reads(redis: Any) -> int:
    return int(redis.info("commandstats").get("cmdstat_xrange", {}).get("calls", 0))


def test_holes_in_many_batches_are_searched_for_and_waited_for_once(
    holed: list[str], healthy: Cli, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []

    async def pause() -> None:
        pauses.append(1)

    monkeypatch.setattr(command, "_pause", pause)
    before = reads(redis)
    [finding] = healthy("verify", "--json").json["findings"]
    assert (finding["check"], finding["count"]) == ("entry-lost", len(holed))
    assert set(finding["examples"]) <= set(holed)
    assert len(pauses) == 1
    # Each batch where it is recorded, in at most two reads; then all of the stream, once; and what other checks read.
    assert reads(redis) - before <= 2 * BATCHES + BATCHES + 10


def test_what_is_more_than_is_kept_in_mind_is_searched_for_in_parts(
    holed: list[str], healthy: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "SEARCHED", 7)
    [finding] = healthy("verify", "--json").json["findings"]
    assert (finding["check"], finding["count"]) == ("entry-lost", len(holed))


def test_no_more_are_looked_for_when_many_are_found(
    holed: list[str], healthy: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "SEARCHED", 5)
    monkeypatch.setattr(entries, "KEPT", 5)
    [finding] = healthy("verify", "--json").json["findings"]
    assert (finding["check"], finding["count"]) == ("entry-lost", 5)
    assert len(holed) > 5
