import pytest
from orders import STREAMS

from outbox import Streams
from outbox.settings import OutboxSettings, load

pytest_plugins = ["outbox.testing.fixtures"]


@pytest.fixture(scope="session")
def outbox_settings() -> OutboxSettings:
    return load(OutboxSettings, mongodb_database="shop")


@pytest.fixture(scope="session")
def outbox_streams() -> Streams:
    return STREAMS
