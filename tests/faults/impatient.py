"""`outbox relay`, except that a command to Redis counts as lost after half a second; in production it takes five."""

from __future__ import annotations

import sys
from functools import partial
from unittest.mock import patch

from outbox.cli import main
from outbox.servers.connections import connect_redis

PATIENCE = 0.5


def run() -> None:
    with patch("outbox_relay.daemon.connect_redis", partial(connect_redis, timeout_seconds=PATIENCE)):
        main(["relay", *sys.argv[1:]])


if __name__ == "__main__":
    run()
