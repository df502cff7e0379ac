"""However many messages a document has: MongoDB sends one small answer about all of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from pymongo.monitoring import CommandListener

from outbox.cli import servers
from outbox.message.document import State
from outbox.servers.connections import connect_mongo
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import LONG_AGO, only

MANY = 2000


class Received(CommandListener):
    """How many documents each answer had."""

    def __init__(self) -> None:
        self.documents: list[int] = []

    def started(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass

    def succeeded(self, event: Any) -> None:
        cursor = event.reply.get("cursor") if isinstance(event.reply, dict) else None
        if isinstance(cursor, dict):
            self.documents.append(len(cursor.get("firstBatch") or cursor.get("nextBatch") or []))


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    listener: Any = Received()
    monkeypatch.setattr(servers, "connect_mongo", partial(connect_mongo, disconnections=listener))
    yield listener
    assert listener.documents


def test_a_file_with_many_messages(healthy: Cli, shelf: Shelf, received: Received) -> None:
    file = shelf.put_file("queued", updated_at=LONG_AGO)
    shelf.put(State.COMPLETED, MANY, key=str(file))
    [last] = shelf.put(State.COMPLETED, key=str(file), subject={"id": file})
    finding = only(healthy, "completed-but-waiting")
    assert finding["mend"] == f"outbox replay --id {last}"
    assert healthy("verify", "--repair", "--json").json["findings"][0]["repaired"] == 1
    assert shelf.states(last) == ["pending"]
    assert max(received.documents) < 100


def test_a_migration_beside_a_file_with_many_messages(healthy: Cli, shelf: Shelf, received: Received) -> None:
    shelf.put(State.COMPLETED, MANY, key=str(shelf.put_file("queued")))
    lost = shelf.put_file("queued")
    assert healthy("migrate", "--json").json["migrated"] == 2  # and one that the fixture has put there
    assert shelf.db.outbox.count_documents({"key": str(lost)}) == 1
    assert max(received.documents) < 100
