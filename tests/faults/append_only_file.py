"""What happens to the append-only file of a Redis: its end is torn off, or an older copy is put in its place."""

from __future__ import annotations

import shutil
from pathlib import Path

from redis import Redis

from outbox.embedded import RedisServer
from tests.waiting import eventually_sync


def folder(server: RedisServer) -> Path:
    return server.data_dir / "appendonlydir"


def cut(server: RedisServer, count: int) -> None:
    """Kill it, take the last `count` bytes from what it had written, start it.

    And let it write the file anew. A cut inside a transaction leaves the beginning of that in the file, and at the next
    start it would be carried out together with what follows: entries that were lost, back in the new history.
    """
    server.kill()
    [file] = folder(server).glob("*.incr.aof")
    with file.open("r+b") as opened:
        opened.truncate(max(0, file.stat().st_size - count))
    server.start()
    with Redis.from_url(server.url) as redis:
        redis.bgrewriteaof()
    eventually_sync(lambda: not file.exists() and len(list(folder(server).glob("*.incr.aof"))) == 1)


def restore(server: RedisServer, copy: Path) -> None:
    """Kill it, put `copy` in place of what it had written, start it."""
    server.kill()
    shutil.rmtree(folder(server))
    shutil.copytree(copy, folder(server))
    server.start()
