"""A primary of Redis with a replica, under three Sentinels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from outbox.embedded import RedisServer
from outbox.embedded.server import PROBE_SECONDS
from tests.faults.topologies import QUICK, role
from tests.waiting import eventually_sync

QUICK_MILLISECONDS, PATIENT_MILLISECONDS = 500, 15_000
"""Until a primary that is silent is taken for dead: while it has been killed, and otherwise. A busy machine may keep
one from its work for seconds."""
FOLLOW = ("slaveof", "replicaof")


class SentinelServer(RedisServer):
    """The same program in its part as a watchman of the primary at `port`.

    It forgets all it has found out when it is started again.
    """

    def __init__(self, data_dir: Path, *, name: str, port: int, service: str, quorum: int) -> None:
        super().__init__(data_dir, name=name)
        self.options = {
            f"sentinel monitor {service}": f"127.0.0.1 {port} {quorum}",
            f"sentinel down-after-milliseconds {service}": str(PATIENT_MILLISECONDS),
            f"sentinel failover-timeout {service}": "3000",
        }

    def _command(self) -> Sequence[str]:
        return [*super()._command(), "--sentinel"]

    def _answers(self) -> bool:
        with self.client(timeout_seconds=PROBE_SECONDS) as client:
            try:
                info: dict[str, Any] = client.info("server")
            except RedisError:
                return False
        return bool(info["process_id"] == self.pid)


class Watched:
    """A primary and its replica, under three Sentinels of which two must agree that the primary is down."""

    service = "tasks"

    def __init__(self, data_dir: Path, *, options: Mapping[str, str] | None = None) -> None:
        self._data_dir = data_dir
        shared = {**QUICK, **(options or {})}
        self.servers = [RedisServer(data_dir / "a", name="redis-a", options=shared)]
        self._options = shared
        self.sentinels: list[SentinelServer] = []

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(s.address for s in self.sentinels)}/{self.service}/0"

    def primary(self) -> RedisServer:
        """Whom the Sentinels hold for the primary, once all of them agree and it says so itself."""

        def agreed() -> RedisServer | None:
            ports_named = {self._named(sentinel) for sentinel in self.sentinels if sentinel.running}
            [port] = ports_named if len(ports_named) == 1 else [None]
            found = next((server for server in self.servers if server.port == port and server.running), None)
            return found if found and role(found) == "master" else None

        found = eventually_sync(agreed, 30, what="the Sentinels agree on a primary")
        assert found
        return found

    def replica(self) -> RedisServer:
        primary = self.primary()
        [other] = [server for server in self.servers if server is not primary]
        return other

    def fail_over(self) -> RedisServer:
        """As an operator does, before the primary's machine is restarted; returns the new primary.

        The old one does not know yet, and goes on beside it, until it is made to `follow`.
        """
        old = self.primary()
        self._in_sync(self.replica())
        first = self.sentinels[0]

        def under_way() -> bool:
            # Asked again: a Sentinel gives up where the replica has not taken over in a few seconds.
            if self._named(first) == old.port:
                with first.client() as client:
                    _accepted(client, "SENTINEL", "FAILOVER", self.service)
            return self._named(first) != old.port

        eventually_sync(under_way, 20, 0.1, what="the Sentinel makes the replica the primary")
        eventually_sync(lambda: self.primary() is not old, 20)
        return self.primary()

    def kill(self, primary: RedisServer) -> None:
        """The Sentinels notice soon, until it is made to `follow`."""
        primary.kill()
        self._notice_after(QUICK_MILLISECONDS)

    def hears(self, server: RedisServer, sentinels: bool) -> None:
        """Whether it does as the Sentinels say. What does not follow the primary, they make to do so after ten
        seconds.
        """
        with server.client() as client:
            may = "+" if sentinels else "-"
            client.execute_command("ACL", "SETUSER", "default", *(may + command for command in FOLLOW))

    def follow(self, server: RedisServer) -> None:
        """Make `server` the replica of the primary, starting it if it was killed.

        The Sentinels would do it, too, but only after it has been a primary beside the other one for ten seconds.
        """
        primary = self.primary()
        server.options["replicaof"] = f"{primary.host} {primary.port}"
        server.start()
        self.hears(server, sentinels=True)
        with server.client() as client:
            client.replicaof(primary.host, primary.port)
        self._notice_after(PATIENT_MILLISECONDS)

    def __enter__(self) -> Self:
        try:
            first = self.servers[0]
            first.start()
            second = RedisServer(
                self._data_dir / "b", name="redis-b", options={**self._options, "replicaof": f"127.0.0.1 {first.port}"}
            )
            self.servers.append(second)
            second.start()
            self._in_sync(second)
            for number in range(3):
                sentinel = SentinelServer(
                    self._data_dir / f"sentinel-{number}", name=f"sentinel-{number}",
                    port=first.port, service=self.service, quorum=2,
                )  # fmt: skip
                self.sentinels.append(sentinel)
                sentinel.start()
            eventually_sync(self._know_each_other, 20, what="the Sentinels find each other and the replica")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in [*self.sentinels, *self.servers]:
            if server.running:
                server.kill()

    def _notice_after(self, milliseconds: int) -> None:
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                client.execute_command("SENTINEL", "SET", self.service, "down-after-milliseconds", milliseconds)

    def _named(self, sentinel: SentinelServer) -> int:
        with sentinel.client() as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)[1])

    def _know_each_other(self) -> bool:
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                state: Any = client.sentinel_masters()[self.service]
                if int(state["num-other-sentinels"]) < 2 or int(state["num-slaves"]) < 1:
                    return False
        return True

    def _in_sync(self, replica: RedisServer) -> None:
        def linked() -> bool:
            with replica.client() as client:
                return bool(client.info("replication").get("master_link_status") == "up")

        eventually_sync(linked, 20, what="the replica has its first copy")


def _accepted(client: Redis, *command: str) -> bool:
    try:
        client.execute_command(*command)  # type: ignore[no-untyped-call]
    except RedisError:
        return False  # such as NOGOODSLAVE, until the Sentinels have looked at the replica again
    return True
