"""The API as users run it: `outbox api` in a process of its own, on a real socket."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil

from outbox.embedded import Process, ports
from outbox.settings import OutboxSettings
from tests.waiting import answers, eventually_sync

PATIENT = {"api_read_seconds": 30.0, "api_probe_seconds": 30.0}
"""For servers that answer: who asks them may be held up for seconds, on a busy machine."""


class Api(Process):
    """`outbox api`, started once it answers."""

    def __init__(self, folder: Path, settings: OutboxSettings, *arguments: str, **overrides: str) -> None:
        self.port = ports.pick("127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(
            "api",
            [sys.executable, "-P", "-m", "outbox", "api", "--port", str(self.port), *arguments],
            folder / "api.log",
            env={
                **os.environ,
                "MONGODB_URI": settings.mongodb_uri.get_secret_value(),
                "MONGODB_DATABASE": settings.mongodb_database,
                "REDIS_URL": settings.redis_dsn,
                **{f"OUTBOX_{name.upper()}": str(seconds) for name, seconds in PATIENT.items()},
                **overrides,
            },
        )

    def start(self) -> None:
        super().start()
        eventually_sync(self._answers, seconds=30, what="the API's first answer")

    def _answers(self) -> bool:
        assert self.running, self.output()
        return answers(f"{self.url}/health/live")

    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)
