"""A cluster of Redis servers: each command goes to the node that has its key, and each node fails by itself.

redis-py's client knows the nodes, their connections and the protocol. How it finds the node of a command is not used:
it asks one node for the keys of XREADGROUP, reads the layout anew after any node's error before it sends anything to
any node, closes everybody's connections while it does, sends ASKING on another connection than what is asked, and does
not know a node that it is redirected to before it has read the layout again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Self, TypeAlias

import structlog
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode, PipelineCommand
from redis.exceptions import AskError, ClusterDownError, ClusterError, MovedError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from outbox.servers.waiting import abandon

log = structlog.get_logger(__name__)

Command: TypeAlias = Sequence[str | int]

REDIRECTIONS = 5
"""How often one command is redirected. A slot that moves is somewhere after two."""
REFRESH_SECONDS = 1.0
"""How often the layout is read at most. Each time all connections are made anew."""

_TROUBLES = (RedisConnectionError, RedisTimeoutError, ClusterDownError)


class Cluster(RedisCluster):
    """A cluster's client that is like one server's: it connects at its first use, and raises the same errors.

    The layout is read once before the first command, and in the background after a node's error or redirection, so that
    no node waits for another one. A command is sent again only where a node said that it has not carried it out.
    """

    def __init__(self, *, startup_nodes: list[ClusterNode], **options: Any) -> None:
        # A slot that nobody has at present is the trouble of its own streams only.
        super().__init__(
            startup_nodes=startup_nodes, require_full_coverage=False, dynamic_startup_nodes=False, **options
        )
        self._seeds = dict(self.nodes_manager.startup_nodes)
        self.nodes_manager.nodes_cache.update(self._seeds)  # those that are found again keep their connections
        self._known = False
        self._reading: asyncio.Task[None] | None = None
        self._read_at = 0.0
        self._failed: str | None = None

    async def __aenter__(self) -> Self:
        return self  # redis-py would connect here

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        if self._reading:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._known = False
        manager = self.nodes_manager
        nodes = [*self._seeds.values(), *manager.startup_nodes.values(), *manager.nodes_cache.values()]
        await asyncio.gather(*(node.disconnect() for node in {id(n): n for n in nodes}.values()))

    async def initialize(self, *_: Any, **__: Any) -> Self:
        """Read the layout, if it is not known yet. Raises what an outage does when no node tells it."""
        if not self._known:
            await asyncio.shield(self._read_layout_once())
        return self

    async def execute_command(self, *args: Any, target_nodes: ClusterNode | None = None, **options: Any) -> Any:
        """The reply of `target_nodes`, which is one, or of the node that has the command's key."""
        await self.initialize()
        if target_nodes is not None:
            return await self._send(target_nodes, args, options)
        slot = self.keyslot(_key(args))
        node, asking = self._owner(slot), False
        for _ in range(REDIRECTIONS):
            try:
                return await self._send(node, args, options, asking=asking)
            except AskError as error:  # MovedError is one of them
                asking = not isinstance(error, MovedError)
                node = self._redirected(slot, node, error)
        raise ClusterError(f"slot {slot} is moved about: redirected {REDIRECTIONS} times")

    def server_of(self, command: Command) -> str:
        """The node that has the command's key, as far as the layout is known."""
        nodes = self.nodes_manager.slots_cache.get(self.keyslot(_key(command)))
        return str(nodes[0].name) if nodes else ""

    async def on_one_connection(self, key: str, commands: Sequence[Command], **options: Any) -> list[Any]:
        """See outbox.servers.topology.on_one_connection."""
        await self.initialize()
        slot = self.keyslot(key)
        node = self._owner(slot)
        replies = await self._pipeline(node, commands, options)
        for reply in replies:
            if isinstance(reply, AskError):
                self._redirected(slot, node, reply)
        return replies

    async def ping(self, **_: Any) -> bool:
        """Whether some primary answers. Not all, or a shard that is away would keep the others' work from going on."""
        await self.initialize()
        asked = {asyncio.ensure_future(self._send(node, ("PING",), {})) for node in self.get_primaries()}
        every = tuple(asked)
        error: BaseException | None = None
        try:
            while asked:
                answered, asked = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                for one in answered:
                    error = one.exception()
                    if error is None:
                        return True
        finally:
            abandon(*every)  # they only ask
        raise error or RedisConnectionError("the cluster has no primary")

    async def _send(
        self, node: ClusterNode, args: Sequence[Any], options: dict[str, Any], *, asking: bool = False
    ) -> Any:
        if asking:
            # Together on one connection: on another one, the node would refuse what it has not taken over yet.
            allowed, reply = await self._pipeline(node, [("ASKING",), args], options)
            for one in (allowed, reply):
                if isinstance(one, Exception):
                    raise one
            return reply
        try:
            return await node.execute_command(*args, **options)
        except _TROUBLES:
            self._refresh(node)
            raise

    async def _pipeline(
        self, node: ClusterNode, commands: Sequence[Sequence[Any]], options: dict[str, Any]
    ) -> list[Any]:
        sent = [PipelineCommand(number, *command, **options) for number, command in enumerate(commands)]
        try:
            await node.execute_pipeline(sent)
        except _TROUBLES:
            self._refresh(node)
            raise
        if any(isinstance(command.result, _TROUBLES) for command in sent):
            self._refresh(node)
        return [command.result for command in sent]

    def _owner(self, slot: int) -> ClusterNode:
        nodes = self.nodes_manager.slots_cache.get(slot)
        if not nodes:
            self._refresh()
            raise RedisConnectionError(f"no node of the cluster has slot {slot} at present")
        return nodes[0]

    def _redirected(self, slot: int, node: ClusterNode, error: AskError) -> ClusterNode:
        """The node that `node` names for `slot`, which need not be known yet."""
        named = ClusterNode(error.host or node.host, error.port, "primary", **self.nodes_manager.connection_kwargs)
        known = self.nodes_manager.nodes_cache.setdefault(named.name, named)
        if isinstance(error, MovedError):
            self.nodes_manager.slots_cache[slot] = [known]
            self._refresh()
        return known

    def _refresh(self, failed: ClusterNode | None = None) -> None:
        """Read the layout soon, beside all else."""
        self._failed = failed.name if failed else self._failed
        self._read_layout_once()

    def _read_layout_once(self) -> asyncio.Task[None]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_layout(), name="layout of the cluster")
            self._reading.add_done_callback(_look_at)
        return self._reading

    async def _read_layout(self) -> None:
        if self._known:
            await asyncio.sleep(max(0.0, self._read_at + REFRESH_SECONDS - time.monotonic()))
        self._read_at = time.monotonic()
        manager, failed, self._failed = self.nodes_manager, self._failed, None
        # The address's own nodes too: after a restart under other addresses, nobody else is left.
        manager.startup_nodes = {**self._seeds, **manager.nodes_cache}
        try:
            await manager.initialize(last_failed_node_name=failed)
        except Exception as error:
            cause = error.__cause__
            if isinstance(error, RedisError) or not isinstance(cause, RedisError):
                # A layout that cannot be read, whatever is wrong with it, is looked for again.
                raise RedisConnectionError(f"the cluster's layout cannot be read: {error}") from error
            raise cause from None  # such as a wrong password
        self._known = True


def _look_at(reading: asyncio.Task[None]) -> None:
    if not reading.cancelled() and (error := reading.exception()):
        log.debug("the cluster's layout cannot be read", error=f"{type(error).__name__}: {error}"[:300])


def _key(args: Sequence[Any]) -> Any:
    """The first key of a command, which decides where it is sent."""
    name = args[0].decode() if isinstance(args[0], bytes) else str(args[0])
    match name.upper():
        case "EVAL" | "EVALSHA":
            return args[3]
        case "XREADGROUP":
            # After the names of group and consumer, which may be any.
            return next(args[i + 1] for i in range(4, len(args) - 1) if args[i] in (b"STREAMS", "STREAMS"))
        case _:
            return args[1]
