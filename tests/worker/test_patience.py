"""What a consumer's log says of servers that it waits for."""

from __future__ import annotations

import asyncio
import re

import pytest
from pymongo.errors import OperationFailure
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from outbox.worker.patience import Patience

CLOSED = RedisConnectionError("Connection closed by server")
PASSWORD = AuthenticationError("invalid username-password pair or user is disabled.")
NO_GROUP = ResponseError("NOGROUP No such key 'orders' or consumer group 'workers' in XREADGROUP with GROUP option")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outbox.worker.patience.BACKOFF_CAP_SECONDS", 0.001)


async def logged(*errors: Exception) -> list[str]:
    """Work that fails with each of `errors` and is done then; returns the level and what is wrong, line by line."""
    patience, left = Patience(), list(errors)

    async def work() -> None:
        if left:
            raise left.pop(0)

    with capture_logs() as logs:
        await patience.wait(work, asyncio.Event())
    assert patience.waits_for == []
    return [f"{line['log_level']}: {re.split(r' [(]|[.] ', line.get('cause', line['event']))[0]}" for line in logs]


async def test_a_cause_that_does_not_pass_is_logged_although_an_outage_was_logged_before() -> None:
    """A changed password ends connections first of all; waiting for that to pass, nobody would look at the password."""
    assert await logged(CLOSED, CLOSED, PASSWORD, PASSWORD, CLOSED) == [
        "warning: Redis closes connections",
        "error: Redis refuses the user or the password",
        "info: redis available again",
    ]


async def test_an_outage_is_logged_although_the_stream_was_waited_for_before() -> None:
    assert await logged(NO_GROUP, NO_GROUP, CLOSED, NO_GROUP) == [
        "info: waiting for the stream and its group",
        "warning: Redis closes connections",
        "info: redis available again",
    ]


async def test_each_server_has_its_own_line() -> None:
    assert await logged(PASSWORD, OperationFailure("Authentication failed.", 18), PASSWORD) == [
        "error: Redis refuses the user or the password",
        "error: MongoDB refuses the user or the password",
        "info: mongodb available again",
        "info: redis available again",
    ]
