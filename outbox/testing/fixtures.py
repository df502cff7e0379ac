"""A pytest plugin: `pytest_plugins = ["outbox.testing.fixtures"]` in the topmost conftest.py, or `-p` with that name.

All fixtures are plain, so that they serve plain tests, and async ones under pytest-asyncio or anyio alike. Override
`outbox_settings` or `outbox_streams` in conftest.py to say what the service declares.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Streams
from outbox.testing.kit import Kit
from outbox.testing.servers import Servers


@pytest.fixture(scope="session")
def outbox_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A MongoDB and a Redis for the whole run, or for each process of pytest-xdist."""
    with Servers(tmp_path_factory.mktemp("outbox")) as servers:
        yield servers


@pytest.fixture(scope="session")
def outbox_settings() -> OutboxSettings:
    """Names of databases and streams, by default from the environment and `.env`. The servers there are not reached."""
    return load(OutboxSettings)


@pytest.fixture(scope="session")
def outbox_streams() -> Streams | None:
    """The streams, where the service declares them in code, and not in OUTBOX_STREAMS."""
    return None


@pytest.fixture
def outbox_kit(outbox_servers: Servers, outbox_settings: OutboxSettings, outbox_streams: Streams | None) -> Kit:
    """An empty outbox, with a relay and a worker that the test moves by hand."""
    return outbox_servers.kit(outbox_settings, outbox_streams)
