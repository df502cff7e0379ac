"""Redis as more than one server: a primary with a replica under three Sentinels, and a cluster of three primaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from outbox.embedded import RedisServer, ports
from outbox.embedded.server import PROBE_SECONDS
from tests.waiting import eventually_sync

QUICK: Mapping[str, str] = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}
"""By default a replica waits five seconds for others before its first copy is made."""
SLOTS = 16384


class SentinelServer(RedisServer):
    """The same program in its part as a watchman of the primary at `port`.

    It forgets all it has found out when it is started again.
    """

    def __init__(self, data_dir: Path, *, name: str, port: int, service: str, quorum: int) -> None:
        super().__init__(data_dir, name=name)
        self.options = {
            f"sentinel monitor {service}": f"127.0.0.1 {port} {quorum}",
            f"sentinel down-after-milliseconds {service}": "500",
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
        with self.sentinels[0].client() as client:
            eventually_sync(lambda: _accepted(client, "SENTINEL", "FAILOVER", self.service), 20)
        eventually_sync(lambda: self.primary() is not old, 20)
        return self.primary()

    def follow(self, server: RedisServer) -> None:
        """Make `server` the replica of the primary, starting it if it was killed.

        The Sentinels would do it, too, but only after it has been a primary beside the other one for ten seconds.
        """
        primary = self.primary()
        server.options["replicaof"] = f"{primary.host} {primary.port}"
        server.start()
        with server.client() as client:
            client.replicaof(primary.host, primary.port)

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

    def _named(self, sentinel: SentinelServer) -> int:
        with sentinel.client() as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)[1])

    def _know_each_other(self) -> bool:
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                state: Any = client.sentinel_master(self.service)
                if int(state["num-other-sentinels"]) < 2 or int(state["num-slaves"]) < 1:
                    return False
        return True

    def _in_sync(self, replica: RedisServer) -> None:
        def linked() -> bool:
            with replica.client() as client:
                return bool(client.info("replication").get("master_link_status") == "up")

        eventually_sync(linked, 20, what="the replica has its first copy")


class ThreePrimaries:
    """A cluster of three primaries, each with a third of the slots; with `replicas`, each has one that takes over."""

    def __init__(self, data_dir: Path, *, replicas: bool = False, options: Mapping[str, str] | None = None) -> None:
        self._data_dir = data_dir
        self._options = options or {}
        self.nodes = [self._node(number) for number in range(6 if replicas else 3)]

    def _node(self, number: int) -> RedisServer:
        return RedisServer(
            self._data_dir / f"node-{number}",
            name=f"node-{number}",
            options={
                **QUICK,
                "cluster-enabled": "yes",
                # Its own default is ten thousand above the port.
                "cluster-port": str(ports.pick("127.0.0.1")),
                "cluster-node-timeout": "1000",
                **self._options,
            },
        )

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(node.address for node in self.nodes[:2])}"

    def owner(self, key: str) -> RedisServer:
        """The primary that has `key`, as the nodes that run agree."""
        slot = key_slot(key.encode())

        def agreed() -> RedisServer | None:
            found = {self._owner(node, slot) for node in self.nodes if node.running}
            [port] = found if len(found) == 1 else [None]
            return next((node for node in self.nodes if node.port == port and node.running), None)

        node = eventually_sync(agreed, 30, what="the nodes agree on a slot's owner")
        assert node
        return node

    @contextmanager
    def migrating(self, slot: int, target: RedisServer) -> Iterator[Callable[[], bool]]:
        """Move a slot to another primary, as resharding tools do. Inside, each call moves one key; False: none is left.

        All that is left is moved at the end.
        """
        source = next(node for node in self.nodes if node.running and node.port == self._owner(target, slot))
        names = identity(source), identity(target)
        with source.client() as giving, target.client() as taking:

            def step() -> bool:
                keys = cast(list[str], giving.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1))
                if keys:
                    giving.execute_command("MIGRATE", target.host, target.port, keys[0], 0, 5000)
                return bool(keys)

            taking.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
            giving.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
            yield step
            while step():
                pass
            taking.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[1])
            giving.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[1])

    def migrate(self, slot: int, target: RedisServer) -> None:
        with self.migrating(slot, target):
            pass

    def join(self) -> RedisServer:
        """A further primary without slots, which clients that have read the layout before do not know."""
        node = self._node(len(self.nodes))
        self.nodes.append(node)
        node.start()
        with self.nodes[0].client() as client:
            client.execute_command("CLUSTER", "MEET", node.host, node.port, node.options["cluster-port"])
        eventually_sync(lambda: all(self._knows_all(one) and _well(one) for one in self.nodes), 30, what="it joins")
        return node

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.start()
            self._form()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            if node.running:
                node.kill()

    def _form(self) -> None:
        first, *others = self.nodes
        for number, node in enumerate(self.nodes[:3]):
            with node.client() as client:
                low, high = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", low, high)
        with first.client() as client:
            for node in others:
                client.execute_command("CLUSTER", "MEET", node.host, node.port, node.options["cluster-port"])
        eventually_sync(lambda: all(self._knows_all(node) for node in self.nodes), 30, what="the nodes meet")
        for node, primary in zip(self.nodes[3:], self.nodes[:3], strict=False):
            with node.client() as client:
                client.execute_command("CLUSTER", "REPLICATE", identity(primary))
        eventually_sync(lambda: all(_well(node) for node in self.nodes), 30, what="the cluster is whole")

    def _knows_all(self, node: RedisServer) -> bool:
        with node.client() as client:
            nodes: str = client.execute_command("CLUSTER", "NODES")
            return str(nodes).count("connected") == len(self.nodes)

    def _owner(self, node: RedisServer, slot: int) -> int | None:
        try:
            with node.client(timeout_seconds=PROBE_SECONDS) as client:
                ranges: Any = client.execute_command("CLUSTER", "SLOTS")
        except RedisError:
            return None
        return next((int(r[2][1]) for r in ranges if r[0] <= slot <= r[1]), None)


def role(server: RedisServer) -> str:
    """What it holds itself for: "master" or "slave"; "" when it does not answer."""
    try:
        with server.client(timeout_seconds=PROBE_SECONDS) as client:
            return str(client.info("replication")["role"])
    except RedisError:
        return ""


def identity(node: RedisServer) -> str:
    with node.client() as client:
        return str(client.execute_command("CLUSTER", "MYID"))


def _well(node: RedisServer) -> bool:
    with node.client() as client:
        state: Any = client.execute_command("CLUSTER", "INFO")
        text = state if isinstance(state, str) else str(state)
        replicates = role(node) == "master" or client.info("replication").get("master_link_status") == "up"
        return "ok" in text.split("cluster_slots")[0] and bool(replicates)


def _accepted(client: Redis, *command: str) -> bool:
    try:
        client.execute_command(*command)  # type: ignore[no-untyped-call]
    except RedisError:
        return False  # such as NOGOODSLAVE, until the Sentinels have looked at the replica again
    return True
