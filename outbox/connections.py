"""Clients for the two servers, with the options that the guarantees rest on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import ConfigurationError

from outbox import topology
from outbox.errors import SettingsError
from outbox.schema import Document
from outbox.settings import OutboxSettings
from outbox.topology import AnyRedis

C = TypeVar("C")


def connect_mongo(settings: OutboxSettings, *, server_selection_seconds: float = 5.0) -> AsyncMongoClient[Document]:
    """A client that reads and acknowledges only what a majority has. Connects at its first use.

    Without the majority, a write that a failover rolls back could have been acknowledged, or published.
    """
    return _connect(AsyncMongoClient, settings, server_selection_seconds)


def connect_mongo_sync(settings: OutboxSettings, *, server_selection_seconds: float = 5.0) -> MongoClient[Document]:
    """The same for plain functions, to be used from any thread."""
    return _connect(MongoClient, settings, server_selection_seconds)


def _connect(kind: Callable[..., C], settings: OutboxSettings, server_selection_seconds: float) -> C:
    try:
        return kind(
            settings.mongodb_uri.get_secret_value(),
            w="majority",
            journal=True,
            readConcernLevel="majority",
            serverSelectionTimeoutMS=int(server_selection_seconds * 1000),
            connectTimeoutMS=5000,
            # A peer that vanished without a word must become an error, or a drain would wait on it for ever.
            socketTimeoutMS=30_000,
            tz_aware=True,
            appname="outbox",
        )
    except (ConfigurationError, ValueError):  # with parts of the address in its text, and so perhaps of the password
        raise SettingsError(_MALFORMED.format("MONGODB_URI", "mongodb://user:password@host/?replicaSet=rs0")) from None


def connect_redis(settings: OutboxSettings, *, timeout_seconds: float = 5.0) -> AnyRedis:
    """A client that never repeats a command by itself, for one server, Sentinels or a cluster (see outbox.topology).

    Connects at its first use.
    """
    try:
        return topology.connect(settings.redis_dsn, timeout_seconds=timeout_seconds)
    except ValueError:
        example = "redis://user:password@host:6379/0 (or redis+sentinel://a,b,c/name/0, redis+cluster://a,b,c)"
        raise SettingsError(_MALFORMED.format("REDIS_URL", example)) from None


_MALFORMED = "{0} cannot be understood. It looks like {1}; percent-encode what is not a letter or digit in a password"
