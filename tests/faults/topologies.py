"""Redis as more than one server: a cluster of three primaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

from redis.crc import key_slot
from redis.exceptions import RedisError, ResponseError

from outbox.embedded import RedisServer, ports
from outbox.embedded.server import PROBE_SECONDS
from tests.waiting import eventually_sync

QUICK: Mapping[str, str] = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}
"""By default a replica waits five seconds for others before its first copy is made."""
SLOTS = 16384
QUICK_MILLISECONDS, PATIENT_MILLISECONDS = 1000, 15_000
"""Until a node that is silent is taken for dead: while one has been killed, and otherwise. A busy machine may keep one
from its work for seconds, and what its replica has not got then is lost."""


class Node(RedisServer):
    """One server of a cluster. Until it has started, each try has another second port; then the others know it."""

    _known = False

    def _start(self, port: int, seconds: float) -> None:
        if not self._known:
            # Its own default, ten thousand above the port, is one of those of outgoing connections.
            self.options["cluster-port"] = str(ports.pick(self.host))
        super()._start(port, seconds)
        self._known = True


class ThreePrimaries:
    """A cluster of three primaries, each with a third of the slots; with `replicas`, each has one that takes over."""

    def __init__(self, data_dir: Path, *, replicas: bool = False, options: Mapping[str, str] | None = None) -> None:
        self._data_dir = data_dir
        self._options = options or {}
        self.nodes = [self._node(number) for number in range(6 if replicas else 3)]

    def _node(self, number: int) -> Node:
        return Node(
            self._data_dir / f"node-{number}",
            name=f"node-{number}",
            # By default, a primary whose last slot is moved away becomes a replica.
            options={
                **QUICK,
                "cluster-enabled": "yes",
                "cluster-node-timeout": str(QUICK_MILLISECONDS),
                "cluster-allow-replica-migration": "no",
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
            try:
                giving.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[1])
            except ResponseError:
                # It has heard of the move, and is the replica of a primary that has just the slots that it had.
                if role(source) == "master":
                    raise

    def migrate(self, slot: int, target: RedisServer) -> None:
        with self.migrating(slot, target):
            pass

    def kill(self, node: RedisServer) -> None:
        """Its replica, if it has one, takes over soon."""
        node.kill()
        self._notice_after(QUICK_MILLISECONDS)

    def start(self, node: RedisServer) -> None:
        """Start one that was killed, as a replica if it was taken over."""
        node.start()
        self._notice_after(PATIENT_MILLISECONDS)

    def join(self) -> RedisServer:
        """A further primary without slots, which clients that have read the layout before do not know."""
        self._notice_after(QUICK_MILLISECONDS)  # by which they tell each other more often, too
        node = self._node(len(self.nodes))
        self.nodes.append(node)
        node.start()
        with self.nodes[0].client() as client:
            client.execute_command("CLUSTER", "MEET", node.host, node.port, node.options["cluster-port"])
        eventually_sync(lambda: all(self._knows_all(one) and _well(one) for one in self.nodes), 30, what="it joins")
        self._notice_after(PATIENT_MILLISECONDS)
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
        self._notice_after(PATIENT_MILLISECONDS)

    def _notice_after(self, milliseconds: int) -> None:
        for node in self.nodes:
            node.options["cluster-node-timeout"] = str(milliseconds)
            if node.running:
                with node.client() as client:
                    client.config_set("cluster-node-timeout", milliseconds)

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
