"""The ways to a Redis: one server, a primary that Sentinels watch over, or a cluster. The address's scheme tells which.

==========================================================  ==========================================================
``redis://user:password@host:6379/0``                       one server
``redis+sentinel://user:password@a:26379,b:26379/name/0``   the primary that Sentinels at a and b know as ``name``
``redis+cluster://user:password@a:6379,b:6379``             the cluster of which a and b are members
==========================================================  ==========================================================

``rediss`` instead of ``redis`` is TLS, to Sentinels too. Options of redis-py follow a ``?``, such as ``ssl_ca_certs=``;
for the Sentinels themselves, ``sentinel_username=`` and ``sentinel_password=``.

No client of these carries out a command twice by itself: after a lost reply it raises, and who called finds out what
happened. A cluster's redirections are followed, because a command that is redirected has not been carried out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis import __version__ as redis_py
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from outbox.errors import SettingsError
from outbox.servers.cluster import Cluster, Command
from outbox.servers.transports import make_honest

AnyRedis: TypeAlias = Redis | RedisCluster

_TEXT: dict[str, Any] = {"decode_responses": True, "encoding": "utf-8", "encoding_errors": "surrogateescape"}
"""How replies become text, and text becomes arguments. Redis holds bytes: a name or a field that is not UTF-8 would
otherwise raise UnicodeDecodeError from every command that meets it. This way it is sent back as it was. Whoever passes
such text on to anything but Redis makes it `printable` first."""

UNBOUNDED = 2**31 - 1
"""Connections: as many as a program has commands at a time. By default redis-py refuses the 101st, and a relay of more
partitions, or a worker of more messages at a time, would take that for an outage."""

FIRST_FOR_CLUSTERS = (8, 1)
"""The first redis-py whose cluster of nodes `Cluster` builds on: a node that failed is asked for the layout last."""

SENTINEL_SECONDS = 1.0
"""How long one Sentinel may take to answer before the next one is asked."""


def connect(url: str, *, timeout_seconds: float) -> AnyRedis:
    """A client for `url`, which connects at its first use.

    ValueError when the address cannot be understood, OSError when it names a file that cannot be read.
    """
    options: dict[str, Any] = {
        **_TEXT,
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "client_name": "outbox",
        "max_connections": UNBOUNDED,
    }
    try:
        url = _without_text_options(url)
        client = _client(urlsplit(url), url, options)
        make_honest(client)
        _read_files(client)
        if isinstance(client, Redis):
            # Connects to nothing, and finds an option that there is not.
            client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, RedisError, RedisClusterException) as error:
        raise ValueError(str(error)) from None
    return client


def _read_files(client: AnyRedis) -> None:
    """Raise OSError for a certificate, key or authority that cannot be read: later on it would look like an outage."""
    options = client.connection_pool.connection_kwargs if isinstance(client, Redis) else client.connection_kwargs
    for option in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if (file := options.get(option)) is not None:
            try:
                Path(file).read_bytes()
            except OSError as error:
                raise OSError(error.errno, f"{option}={file} cannot be read: {error.strerror}") from None


def _without_text_options(url: str) -> str:
    """An address that is shared with other programs may carry theirs, which would win over ours."""
    address, _, query = url.partition("?")
    options = [option for option in query.split("&") if option and option.partition("=")[0] not in _TEXT]
    return "?".join([address, "&".join(options)]) if options else address


def _client(address: SplitResult, url: str, options: dict[str, Any]) -> AnyRedis:
    match address.scheme.partition("+")[2]:
        case "sentinel":
            return _sentinel(Members.read(address), options)
        case "cluster":
            return _cluster(Members.read(address), options)
        case _:
            _refuse_elsewhere(address)
            return Redis.from_url(url, **options, retry=_never())


async def on_one_connection(redis: AnyRedis, key: str, commands: Sequence[Command], **options: Any) -> list[Any]:
    """Send `commands` at once, on one connection, to the server that has `key`; the replies, errors among them.

    A redirection is not followed: what came after the command would have gone to the wrong server.

    :param options: for redis-py, on how to read the replies.
    """
    if isinstance(redis, Cluster):
        return await redis.on_one_connection(key, commands, **options)
    async with redis.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command, **options)
        replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies


async def primaries(redis: AnyRedis, *command: str | int) -> list[Any]:
    """The replies of each primary to one command, errors among them. Raises when a cluster's primaries are unknown."""
    if not isinstance(redis, Cluster):
        return [*await asyncio.gather(redis.execute_command(*command), return_exceptions=True)]
    await redis.initialize()
    asked = (redis.execute_command(*command, target_nodes=node) for node in redis.get_primaries())
    return await asyncio.gather(*asked, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Members:
    """An address that names several servers, taken apart."""

    hosts: tuple[tuple[str, int], ...]
    path: tuple[str, ...]
    options: dict[str, Any]
    """What redis-py reads from user, password and query."""
    tls: bool

    @classmethod
    def read(cls, address: SplitResult) -> Self:
        scheme = address.scheme.partition("+")[0]
        credentials, at, hosts = address.netloc.rpartition("@")
        read = [parse_url(f"{scheme}://{credentials}{at}{host}?{address.query}") for host in hosts.split(",")]
        if not all("host" in member for member in read):
            raise ValueError("a host is missing")
        options: dict[str, Any] = dict(read[0])
        for name in ("host", "port", "connection_class"):
            options.pop(name, None)
        # redis-py before 8.1 reads a percent sign in them twice.
        user, _, password = credentials.partition(":")
        options |= {name: unquote(text) for name, text in (("username", user), ("password", password)) if text}
        options |= {name: text for name, text in parse_qsl(address.query) if name.endswith(("username", "password"))}
        path = tuple(unquote(part) for part in address.path.split("/") if part)
        standard = 26379 if address.scheme.endswith("sentinel") else 6379
        return cls(
            tuple((member["host"], member.get("port", standard)) for member in read),
            path,
            options,
            tls=read[0].get("connection_class") is SSLConnection,
        )


def _refuse_elsewhere(address: SplitResult) -> None:
    """Raise ValueError for what redis-py would take for another place than was meant, in silence."""
    if address.scheme == "unix":
        if address.netloc.rpartition("@")[2] or not address.path.strip("/"):
            raise ValueError("a socket is named by its path, such as unix:///run/redis.sock")
    elif not address.hostname:
        raise ValueError("a host is missing")
    elif not re.fullmatch(r"/?\d*", address.path):
        raise ValueError("after the host, there is the number of a database")


def _never() -> Retry:
    # redis-py retries ten times by default, and an XADD whose reply was lost would then be there twice.
    return Retry(NoBackoff(), 0)


def _sentinel(members: Members, options: dict[str, Any]) -> Redis:
    match members.path:
        case (name,):
            number = 0
        case (name, text):
            number = int(text)
        case _:
            raise ValueError("after the Sentinels, name the service that they watch, such as /mymaster/0")
    own = members.options
    sentinel_only = {
        option: own.pop(f"sentinel_{option}") for option in ("username", "password") if f"sentinel_{option}" in own
    }
    tls = {option: value for option, value in own.items() if option.startswith("ssl_")} | {"ssl": members.tls}
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        members.hosts,
        sentinel_kwargs={
            "socket_timeout": SENTINEL_SECONDS,
            "socket_connect_timeout": SENTINEL_SECONDS,
            "retry": _never(),
            **(tls if members.tls else {}),
            **sentinel_only,
        },
    )
    for sentinel in sentinels.sentinels:
        make_honest(sentinel)
    return sentinels.master_for(  # type: ignore[no-any-return]
        name,
        connection_pool_class=_Watched,
        **{**options, **own, "db": number, "retry": _never(), **({"ssl": True} if members.tls else {})},
    )


class _Watched(SentinelConnectionPool):
    """Connections to the primary of the moment; with them, those to the Sentinels are closed."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()  # redis-py before 8.1 does not


def _cluster(members: Members, options: dict[str, Any]) -> Cluster:
    if members.path not in ((), ("0",)):
        raise ValueError("a cluster has one database, number 0")
    if tuple(map(int, redis_py.split(".")[:2])) < FIRST_FOR_CLUSTERS:
        first = ".".join(map(str, FIRST_FOR_CLUSTERS))
        raise SettingsError(
            f"REDIS_URL: a cluster needs redis-py {first} or later, not {redis_py}: pip install 'redis>={first}'"
        )
    nodes = [ClusterNode(host, port) for host, port in members.hosts]
    return Cluster(startup_nodes=nodes, **options, **members.options, ssl=members.tls, retry=_never())
