"""Files that another program has queued by itself, as the API before the outbox does beside the new one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId

from outbox.delivery import foreign
from outbox.message.document import State
from outbox.operations.verify import subjects
from outbox.streams.declaration import FILE_GROUP, FILE_STREAM
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import LONG_AGO, found

BOTH = ["completed-but-waiting", "file-without-message"]


def queued_by_another(shelf: Shelf, redis: Any, spelled: Callable[[str], str] = str) -> list[ObjectId]:
    """A file of its own, and one whose message was completed and that it queued once more: an entry for each."""
    files = [shelf.put_file("queued", updated_at=LONG_AGO) for _ in range(2)]
    shelf.put(State.COMPLETED, key=str(files[1]))
    for file in files:
        redis.xadd(FILE_STREAM, {"file_id": spelled(str(file)), "filename": "a.pdf"})
    return files


def entries(redis: Any) -> list[str]:
    return [fields["file_id"] for _, fields in redis.xrange(FILE_STREAM)]


def test_what_an_entry_waits_for_is_not_queued_once_more(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    files = queued_by_another(shelf, redis)
    assert found(healthy) == ["group-missing"]
    redis.xgroup_create(FILE_STREAM, FILE_GROUP, "0")
    before = shelf.db.outbox.count_documents({"state": "pending"})
    assert healthy("verify", "--repair").code == 0

    [(_, given)] = redis.xreadgroup(FILE_GROUP, "old worker", {FILE_STREAM: ">"})
    redis.xadd(FILE_STREAM, {"file_id": "another"})  # and so those two are behind what the group has come to
    redis.xreadgroup(FILE_GROUP, "other old worker", {FILE_STREAM: ">"})
    assert healthy("verify", "--repair").code == 0
    assert (shelf.db.outbox.count_documents({"state": "pending"}), len(entries(redis))) == (before, 3)

    redis.xack(FILE_STREAM, FILE_GROUP, *(entry for entry, _ in given))
    assert found(healthy) == BOTH
    redis.xdel(FILE_STREAM, *(entry for entry, _ in given))
    assert found(healthy) == BOTH
    assert healthy("verify", "--repair").code == 0
    pending = {message["key"] for message in shelf.db.outbox.find({"state": "pending"})}
    assert {*map(str, files)} <= pending


def test_an_entry_may_spell_an_id_in_another_way(healthy: Cli, shelf: Shelf, redis: Any) -> None:
    queued_by_another(shelf, redis, str.upper)
    redis.xgroup_create(FILE_STREAM, FILE_GROUP, "0")
    assert found(healthy) == []


def test_more_is_in_hand_than_is_asked_for_at_once(
    healthy: Cli, shelf: Shelf, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "PAGE", 2)
    for _ in range(3):
        queued_by_another(shelf, redis)
    redis.xgroup_create(FILE_STREAM, FILE_GROUP, "0")
    [(_, given)] = redis.xreadgroup(FILE_GROUP, "old worker", {FILE_STREAM: ">"})
    redis.xack(FILE_STREAM, FILE_GROUP, given[3][0])  # between two that are asked for together
    assert found(healthy) == ["completed-but-waiting"]


@pytest.mark.parametrize("where", ["stream", "hand"])
def test_what_is_queued_between_a_finding_and_its_repair_is_left_alone(
    healthy: Cli, shelf: Shelf, redis: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The repair reads the stream again."""
    files = queued_by_another(shelf, redis)
    redis.delete(FILE_STREAM)
    redis.xgroup_create(FILE_STREAM, FILE_GROUP, "0", mkstream=True)

    def then_queued(name: str, file: ObjectId) -> None:
        inner = getattr(subjects, name)

        def finding(*arguments: Any, **named: Any) -> Any:
            redis.xadd(FILE_STREAM, {"file_id": str(file)})
            if where == "hand":
                redis.xreadgroup(FILE_GROUP, "old worker", {FILE_STREAM: ">"})
            return inner(*arguments, **named)

        monkeypatch.setattr(subjects, name, finding)

    then_queued("_without_message", files[0])
    then_queued("_unsettled", files[1])
    before = shelf.db.outbox.count_documents({"state": "pending"})
    result = healthy("verify", "--repair", "--json")
    assert [(each["check"], each["repaired"], each["left"]) for each in result.json["findings"]] == [
        ("file-without-message", 0, False), ("completed-but-waiting", 0, False),
    ]  # fmt: skip
    assert result.code == 0
    assert shelf.db.outbox.count_documents({"state": "pending"}) == before


def test_what_is_taken_up_while_the_stream_is_read_is_left_alone(
    healthy: Cli, shelf: Shelf, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of ours makes messages of the entries, before they are gone from the stream."""
    files = queued_by_another(shelf, redis)
    redis.xgroup_create(FILE_STREAM, FILE_GROUP, "0")

    async def then_read(*arguments: Any) -> Any:
        for file in files:
            shelf.put(State.PENDING, key=str(file))
        redis.delete(FILE_STREAM)
        async for key in foreign.waiting_keys(*arguments):
            yield key

    monkeypatch.setattr(subjects, "waiting_keys", then_read)
    assert found(healthy, "--pending", "1d") == []
