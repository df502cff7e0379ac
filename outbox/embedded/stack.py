"""The processes of `outbox up`: servers, API, relay and a demonstration worker, and how they find each other."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from pydantic import SecretStr

from outbox import environment
from outbox.embedded import ports
from outbox.embedded.mongod import Mongod, fault_in
from outbox.embedded.process import Process
from outbox.embedded.redis import RedisServer
from outbox.embedded.supervisor import Ward
from outbox.settings import OutboxSettings

_LOCAL = "127.0.0.1"
REDIS_PAUSE_SECONDS = 15.0
"""How long a Redis that was killed stays away: time enough to see that uploads go on."""


class Stack:
    """Everything under one data directory. Ports are remembered there, so that addresses outlast a restart."""

    def __init__(self, settings: OutboxSettings, data_dir: Path, *, host: str, port: int) -> None:
        self.data_dir = data_dir
        self.settings = settings
        self.host = host
        self.port = port
        self._ports = data_dir / "ports.json"
        self.servers_env = data_dir / "servers.env"
        """The addresses of the servers, to be copied to `.env` for programs that are started beside."""
        remembered = self._remembered()
        self.mongod = Mongod(data_dir / "mongod", port=remembered.get("mongod"), binary=settings.outbox_mongod)
        self.redis = RedisServer(data_dir / "redis", port=remembered.get("redis"), binary=settings.outbox_redis_server)
        self._relay_port = remembered.get("relay") or ports.pick(_LOCAL)
        self.relay = self._program("relay", "outbox", "relay")
        self.worker = self._program("worker", "outbox_api.demonstration")
        self.api = self._program("api", "outbox", "api", "--host", host, "--port", str(port))

    @property
    def url(self) -> str:
        """Where the API is reached from this machine."""
        return f"http://{_LOCAL if self.host in ('0.0.0.0', '::') else self.host}:{self.port}"  # noqa: S104

    def servers(self) -> list[Ward]:
        """What the rest needs, in the order to start it. Stopping goes the other way round."""
        return [
            Ward(self.mongod, shown=fault_in, stop_seconds=30),
            Ward(
                self.redis,
                pause=lambda _: REDIS_PAUSE_SECONDS,
                advice="uploads go on meanwhile, and their messages wait in MongoDB",
            ),
        ]

    def programs(self) -> list[Ward]:
        """Once the servers run and the schema is set up: API last, so that nothing is taken in that nobody delivers,
        and stopped first. The relay has its own deadline for a stop, and keeps it with time to spare.
        """
        given = self._environment()
        self._remember()
        for process in (self.relay, self.worker, self.api):
            process.env = given
        return [Ward(self.relay, stop_seconds=60), Ward(self.worker), Ward(self.api, stop_seconds=30)]

    def connected(self) -> OutboxSettings:
        """The settings with the addresses of the servers, which must run."""
        return self.settings.model_copy(
            update={"mongodb_uri": SecretStr(self.mongod.uri), "redis_url": SecretStr(self.redis.url)}
        )

    def _program(self, name: str, module: str, *arguments: str) -> Process:
        # -P: a folder `api` or `relay` where `up` is called must not be taken for ours.
        return Process(name, [sys.executable, "-P", "-m", module, *arguments], self.data_dir / f"{name}.log")

    def _environment(self) -> dict[str, str]:
        own = {**environment.of_servers(self.mongod.uri, self.redis.url), "PYTHONUNBUFFERED": "1"}
        # The address of these servers names no database, and the one that is set may.
        own["MONGODB_DATABASE"] = self.settings.mongodb_database
        if self.settings.outbox_log_format == "auto":
            own["OUTBOX_LOG_FORMAT"] = "console"
        if not {"OUTBOX_RELAY_LISTEN", "RELAY_HOST", "RELAY_PORT"} & environment.read().keys():
            own["OUTBOX_RELAY_LISTEN"] = f"{_LOCAL}:{self._relay_port}"
        return {**os.environ, **own}

    def _remembered(self) -> dict[str, int]:
        """The ports of last time that are still free."""
        if not self._ports.exists():
            return {}
        last: dict[str, int] = json.loads(self._ports.read_text())
        return {name: port for name, port in last.items() if not ports.is_taken(_LOCAL, port)}

    def _remember(self) -> None:
        known = {"mongod": self.mongod.port, "redis": self.redis.port, "relay": self._relay_port}
        self._ports.write_text(json.dumps(known) + "\n")
        servers = environment.of_servers(self.mongod.uri, self.redis.url)
        self.servers_env.write_text("".join(f"{name}={value}\n" for name, value in servers.items() if value))
