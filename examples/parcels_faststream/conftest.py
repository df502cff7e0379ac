import pytest
from parcels import STREAMS

from outbox import Streams
from outbox.settings import OutboxSettings, load

pytest_plugins = ["outbox.testing.fixtures"]


@pytest.fixture(scope="session")
def outbox_settings() -> OutboxSettings:
    return load(OutboxSettings, mongodb_database="depot")


@pytest.fixture(scope="session")
def outbox_streams() -> Streams:
    return STREAMS


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
