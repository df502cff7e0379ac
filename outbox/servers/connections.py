"""Clients for the two servers, with the options that the guarantees rest on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import ServerSelectionTimeoutError
from pymongo.topology_description import TopologyDescription

from outbox.database import LENIENT, Database, Document, Place
from outbox.errors import SettingsError, UsageError
from outbox.servers import topology
from outbox.servers.disconnections import Disconnections
from outbox.servers.topology import AnyRedis
from outbox.settings import OutboxSettings

C = TypeVar("C")

OURS: dict[str, Any] = {
    # Read at the primary only. A secondary that is behind would make a file that was just uploaded "not found", a
    # message that was just settled "still wanted"; and no secondary answers a linearizable read.
    "readPreference": "primary",
    "readPreferenceTags": "",
    "maxStalenessSeconds": -1,
    # A write that a failover rolls back must not have been acknowledged, nor read and published.
    "readConcernLevel": "majority",
    "w": "majority",
    "journal": True,
    "fsync": False,
    "wTimeoutMS": 0,
    # The driver then repeats a write once after a failover, without carrying it out twice.
    "retryWrites": True,
    "retryReads": True,
    # Each statement has the time that it needs; one limit for all would cut off those that may take longer.
    "timeoutMS": None,
    # A peer that vanished without a word must become an error, or a drain would wait on it for ever.
    "connectTimeoutMS": 5000,
    "socketTimeoutMS": 30_000,
    # Read times and text as they were written.
    "tz_aware": True,
    "datetime_conversion": "DATETIME",
    "unicode_decode_error_handler": "strict",
    # At the first statement. A client that connects when it is made would look the name up then, and might fail.
    "connect": False,
}
"""Options that the guarantees rest on. They hold whatever MONGODB_URI says."""

NAME = "outbox"
"""What connections are called, in what the server says of them. Those of workers say which one."""

CONNECTIONS = 100
"""The least that a program which says how many it needs may open to MongoDB."""


_NOT_PRIMARY = ("RSSecondary", "RSOther", "RSArbiter")


class _AtPrimary(AsyncMongoClient[Document]):
    """With directConnection=true, the driver reads at whatever member the address leads to, and asks it to answer as a
    secondary. This one does not: what it would read may be older than what the primary has acknowledged."""

    async def _select_server(self, *args: Any, **kwargs: Any) -> Any:
        server = await super()._select_server(*args, **kwargs)
        _refuse_others(self.topology_description)
        return server


class _AtPrimarySync(MongoClient[Document]):
    """The same for plain functions."""

    def _select_server(self, *args: Any, **kwargs: Any) -> Any:
        server = super()._select_server(*args, **kwargs)
        _refuse_others(self.topology_description)
        return server


class _Lent(_AtPrimary):
    """A worker's, which handlers and lifespans get as well. If one of them closed it, no other could go on."""

    async def close(self) -> None:
        raise UsageError(_IS_LENT)

    aclose = close


class _LentSync(_AtPrimarySync):
    """The same for plain functions."""

    def close(self) -> None:
        raise UsageError(_IS_LENT)


_IS_LENT = (
    "this client is the worker's, and its other handlers go on with it: the worker closes it at its end; call no "
    "close, and use it without `with` and `async with`"
)


def _refuse_others(known: TopologyDescription) -> None:
    """Raise what the driver raises when there is no primary, if the one server that it may ask is another member."""
    if known.topology_type_name != "Single":
        return
    for (host, port), server in known.server_descriptions().items():
        if server.server_type_name in _NOT_PRIMARY:
            raise ServerSelectionTimeoutError(
                f"{host}:{port} is not the primary, and directConnection=true in MONGODB_URI leads to no other member"
            )


def connect_mongo(
    settings: OutboxSettings,
    *,
    server_selection_seconds: float = 5.0,
    connections: int | None = None,
    name: str = NAME,
    disconnections: Disconnections | None = None,
) -> AsyncMongoClient[Document]:
    """A client that reads and acknowledges only what a majority has, at the primary, whatever the address says.

    Connects at its first use.

    :param connections: how many statements there are at a time, where each has a time limit: one that waits for a
        connection until its time is over looks like an outage. By default, as the address says, or 100.
    :param name: of its connections, in what the server says of them; at most 128 bytes.
    :param disconnections: is told when it loses a server.
    :raises SettingsError: the address cannot be understood, or names a file that cannot be read.
    """
    return _connect(_AtPrimary, settings, server_selection_seconds, name, disconnections, connections)


@asynccontextmanager
async def lend_mongo(settings: OutboxSettings, **options: Any) -> AsyncIterator[AsyncMongoClient[Document]]:
    """The same for handlers too: closed at the end, and by nobody else, for whom `close` raises UsageError."""
    client = _connect(_Lent, settings, **options)
    try:
        yield client
    finally:
        await AsyncMongoClient.close(client)


def connect_mongo_sync(
    settings: OutboxSettings,
    *,
    server_selection_seconds: float = 5.0,
    name: str = NAME,
    disconnections: Disconnections | None = None,
) -> MongoClient[Document]:
    """The same for plain functions, to be used from any thread."""
    return _connect(_AtPrimarySync, settings, server_selection_seconds, name, disconnections)


@contextmanager
def lend_mongo_sync(settings: OutboxSettings, **options: Any) -> Iterator[MongoClient[Document]]:
    """`lend_mongo`, for plain functions."""
    client = _connect(_LentSync, settings, **options)
    try:
        yield client
    finally:
        MongoClient.close(client)


def _connect(
    kind: Callable[..., C],
    settings: OutboxSettings,
    server_selection_seconds: float = 5.0,
    name: str = NAME,
    disconnections: Disconnections | None = None,
    connections: int | None = None,
) -> C:
    uri = settings.mongodb_uri.get_secret_value()
    if "@" in uri.partition("://")[2].partition("?")[0].partition("/")[2]:
        # A password with a / in it: what is behind would be taken for a database, and the rest for hosts.
        raise SettingsError(_MALFORMED.format("MONGODB_URI", _MONGODB_EXAMPLE))
    try:
        milliseconds = int(server_selection_seconds * 1000)
        pool = {"maxPoolSize": max(connections, CONNECTIONS)} if connections else {}
        told = {"event_listeners": [disconnections]} if disconnections else {}
        return kind(uri, **OURS, **pool, **told, appname=name, serverSelectionTimeoutMS=milliseconds)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise SettingsError(f"MONGODB_URI: {_files(uri)} cannot be read: {why}") from None
    except Exception:  # noqa: BLE001  # PyMongo raises many kinds, with parts of the address, and so of the password
        raise SettingsError(_MALFORMED.format("MONGODB_URI", _MONGODB_EXAMPLE)) from None


def _files(uri: str) -> str:
    """The options that name files, as they are written in the address."""
    options = parse_qsl(uri.rpartition("?")[2])
    return ", ".join(f"{name}={value}" for name, value in options if name.lower().endswith("file"))


def open_database(client: AsyncMongoClient[Document], place: Place | str) -> Database:
    """The outbox's database, whose documents can all be read: what others wrote into them cannot raise.

    Texts that are not UTF-8 come with U+FFFD in place of what is wrong, and times that Python does not have as
    `DatetimeMS`. A strict decoder would fail for a whole page because of one document. `client` itself stays strict:
    handlers use it for documents of their own, which they may write back.
    """
    return Database(client, place, LENIENT)


def connect_redis(settings: OutboxSettings, *, timeout_seconds: float = 5.0) -> AnyRedis:
    """A client that never repeats a command by itself, for one server, Sentinels or a cluster (see
    outbox.servers.topology).

    Connects at its first use.
    """
    try:
        return topology.connect(settings.redis_dsn, timeout_seconds=timeout_seconds)
    except OSError as error:
        raise SettingsError(f"REDIS_URL: {error.strerror}") from None
    except ValueError:
        example = "redis://user:password@host:6379/0 (or redis+sentinel://a,b,c/name/0, redis+cluster://a,b,c)"
        raise SettingsError(_MALFORMED.format("REDIS_URL", example)) from None


_MALFORMED = "{0} cannot be understood. It looks like {1}; percent-encode what is not a letter or digit in a password"
_MONGODB_EXAMPLE = "mongodb://user:password@host/?replicaSet=rs0"
