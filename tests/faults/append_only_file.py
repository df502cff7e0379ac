"""What happens to the append-only file of a Redis: its end is torn off, or an older copy is put in its place."""

from __future__ import annotations

import shutil
from pathlib import Path

from outbox.embedded import RedisServer


def folder(server: RedisServer) -> Path:
    return server.data_dir / "appendonlydir"


def cut(server: RedisServer, count: int) -> None:
    """Kill it, take the last `count` bytes from what it had written, start it."""
    server.kill()
    [file] = folder(server).glob("*.incr.aof")
    with file.open("r+b") as opened:
        opened.truncate(max(0, file.stat().st_size - count))
    server.start()


def restore(server: RedisServer, copy: Path) -> None:
    """Kill it, put `copy` in place of what it had written, start it."""
    server.kill()
    shutil.rmtree(folder(server))
    shutil.copytree(copy, folder(server))
    server.start()
