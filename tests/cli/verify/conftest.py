"""A system in which nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox.cli import verify as command
from outbox.embedded import RedisServer
from outbox.message.document import State
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import LONG_AGO, listed


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def healthy(with_files: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A system with a relay and with work under way, in which nothing is wrong."""
    monkeypatch.setattr(command, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("outbox.operations.verify.setup.OPLOG_HOURS", 0)
    listed(shelf)
    waiting, parsed = shelf.put_file("queued", updated_at=LONG_AGO), shelf.put_file("parsed")
    shelf.put(State.PENDING, key=str(waiting), at=datetime.now(UTC))
    shelf.put(State.COMPLETED, key=str(parsed))
    # Its message may be just about to be read, and so it is for as long as a test takes.
    shelf.put_file("queued", updated_at=datetime.now(UTC) + timedelta(minutes=5))
    return with_files
