"""What a soak runs on: servers, two relays and two workers, of which the first one of each is never hurt."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from outbox.database import Database
from outbox.embedded import Mongod, RedisServer
from outbox.embedded.process import Process
from outbox.environment import of_servers
from outbox.message import schema
from outbox.operations import applications
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, StreamSetting, load
from outbox.streams.declaration import Stream, Streams
from tests.documents import ROOT
from tests.faults.explorer.defects import DEFECT

DATABASE = "soak"
STREAM = Stream("soak", "workers")


class Stage:
    def __init__(self, folder: Path, retention_seconds: float) -> None:
        self.mongod = Mongod(folder / "mongod")
        self.redis = RedisServer(folder / "redis")
        self._folder = folder
        self._retention_seconds = retention_seconds
        self.relays: list[Process] = []
        self.workers: list[Process] = []

    @asynccontextmanager
    async def built(self) -> AsyncIterator[Database]:
        """All of it runs; the database for whoever appends."""
        with ExitStack() as stack:
            stack.enter_context(self.mongod)
            stack.enter_context(self.redis)
            settings = load(OutboxSettings, mongodb_uri=self.mongod.uri)
            async with connect_mongo(settings, server_selection_seconds=30) as client:
                database = Database(client, DATABASE)
                await schema.ensure(database, Streams([STREAM]), applications.files())
                await client[DATABASE].create_collection("effects")
                handler = ["--handler", "tests.soak.handlers:handle", "--silent-seconds", "5"]
                for number in (1, 2):
                    self.relays.append(stack.enter_context(self._program(f"relay-{number}", "relay")))
                    self.workers.append(stack.enter_context(self._program(f"worker-{number}", "worker", *handler)))
                yield database

    def _program(self, name: str, *arguments: str) -> Process:
        declared = StreamSetting(name=STREAM.name, group=STREAM.group)
        environment = {
            **os.environ,
            **of_servers(self.mongod.uri, self.redis.url),
            "MONGODB_DATABASE": DATABASE,
            "OUTBOX_STREAMS": json.dumps([declared.model_dump()]),
            "OUTBOX_RETENTION_DAYS": f"{self._retention_seconds / 86400:f}",
            "OUTBOX_RELAY_PRUNE_SECONDS": f"{max(1.0, self._retention_seconds / 20):f}",
            "OUTBOX_RELAY_LISTEN": "127.0.0.1:0",
            "OUTBOX_LOG_FORMAT": "json",
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "relay", "api")),
        }
        command = [sys.executable, "-m", "outbox", *arguments]
        return Process(name, command, self._folder / f"{name}.log", env=environment)

    def defects(self) -> list[str]:
        """What no program may do: end by itself, or log an error that stands for nothing that was done to it."""
        found = [
            f"{program.name} has ended by itself: {program.output(last_lines=5)}"
            for program in (self.relays[0], self.workers[0])
            if not program.running
        ]
        for program in (*self.relays, *self.workers):
            lines = [line for line in program.log.read_text().splitlines() if DEFECT in line or "Traceback" in line]
            found += [f"{program.name}, {len(lines)} times: {lines[0]}"] if lines else []
        return found
