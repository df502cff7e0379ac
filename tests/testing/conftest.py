from __future__ import annotations

import pytest

from outbox.streams.declaration import Retry, Stream, Streams
from outbox.testing.fixtures import outbox_kit, outbox_servers, outbox_settings

__all__ = ["outbox_kit", "outbox_servers", "outbox_settings"]


@pytest.fixture(scope="session")
def outbox_streams() -> Streams:
    return Streams(
        [
            Stream("orders", "shippers", unique_seconds=3600, retry=Retry(attempts=2, base_seconds=1e-6)),
            Stream("urgent", "shippers", priorities=("high",), groups=("billing",)),  # type: ignore[arg-type]
        ]
    )
