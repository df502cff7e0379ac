"""An embedded Redis: Valkey or Redis, whichever program is found, with its data kept in an append-only
file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from outbox.embedded.binaries import find_redis
from outbox.embedded.server import PROBE_SECONDS, Server

# Every second, as most installations have it: a crash of the machine may lose the last second, which the
# relay notices and repairs. `noeviction`: with any other policy a full Redis would drop streams silently.
_DEFAULTS: Mapping[str, str] = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "save": '""',
}
_ANSWER_SECONDS = 5.0


class RedisServer(Server):
    """A Valkey or Redis server (7.0 and later). `options` are lines of its configuration file, over our
    defaults.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        binary: str | Path | None = None,
        options: Mapping[str, str] | None = None,
        name: str = "redis",
    ) -> None:
        super().__init__(name, data_dir, host=host, port=port)
        self.binary = binary
        self.options = {**_DEFAULTS, **(options or {})}

    @property
    def url(self) -> str:
        password = self.options.get("requirepass")
        return f"redis://{f':{password}@' if password else ''}{self.address}/0"

    @property
    def version(self) -> str:
        """Which server this is, such as "valkey 9.1.2" or "redis 7.0.15". It must run."""
        with self.client() as client:
            info: dict[str, Any] = client.info("server")
        name = str(info.get("server_name", "redis"))
        return f"{name} {info.get(f'{name}_version', info['redis_version'])}"

    def client(self, *, timeout_seconds: float = _ANSWER_SECONDS) -> Redis:
        """A new synchronous client (text, no retries of its own); the caller closes it."""
        return Redis.from_url(
            self.url,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
        )

    def _command(self) -> Sequence[str]:
        folder = str(self.data_dir.absolute()).replace("\\", "\\\\").replace('"', '\\"')
        options = {"bind": self.host, "port": str(self.port), "dir": f'"{folder}"', **self.options}
        configuration = self.data_dir / f"{self.name}.conf"
        configuration.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        return [str(find_redis(self.binary)), str(configuration.absolute())]

    def _answers(self) -> bool:
        with self.client(timeout_seconds=PROBE_SECONDS) as client:
            try:
                # Another program's Redis on the same port would answer a ping as well.
                info: dict[str, Any] = client.info()
            except RedisError:
                return False
        return info["process_id"] == self.pid and not info["loading"]

    def _reason(self, log: str) -> str | None:
        if "FATAL CONFIG FILE ERROR" in log:
            return f"it refuses an option:\n{self.output(last_lines=5)}"
        return None
