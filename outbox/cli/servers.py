"""The two servers, for as long as a command runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import pymongo
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError
from redis.exceptions import RedisError

from outbox.database import Database, Document
from outbox.errors import OutboxError, Unreachable
from outbox.servers import causes
from outbox.servers.connections import connect_mongo, connect_redis, open_database
from outbox.servers.outages import Trouble, classify, server_of
from outbox.servers.topology import AnyRedis
from outbox.servers.waiting import stop_if_cancelled
from outbox.settings import OutboxSettings, load
from outbox.streams import known, registry
from outbox.streams.declaration import Streams
from outbox.streams.registry import NotUnderstood

T = TypeVar("T")

SECONDS = 3.0
"""How long a command waits for a server: somebody sits before it."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Clients to the servers that the settings name, and the streams that are registered there. `not_understood`: what
    else is in the registry, and what to do about it.
    """

    settings: OutboxSettings
    streams: Streams
    mongo: AsyncMongoClient[Document]
    database: Database
    redis: AnyRedis
    not_understood: tuple[str, ...] = ()


class Refused(OutboxError):
    """A server answers, and does not do what is asked."""


class Slow(Refused):
    """It answers, and took too long: that may pass."""


def run(command: Callable[[Servers], Awaitable[T]], *, registers: bool = False, looks: bool = False) -> T:
    """Run `command` with clients and close them. A driver's error becomes Unreachable or Refused, without secrets.

    :param registers: the command gets the streams as the settings declare them, and not as they are registered.
    :param looks: the command only looks, and so goes on beside streams that cannot be understood.
    :raises WrongDeclaration: the settings contradict what is registered.
    """
    return asyncio.run(_run(command, load(OutboxSettings), registers, looks))


async def _run(command: Callable[[Servers], Awaitable[T]], settings: OutboxSettings, registers: bool, looks: bool) -> T:
    streams: Streams = settings.streams  # so that what is wrong in them is said first
    async with (
        connect_mongo(settings, server_selection_seconds=SECONDS) as mongo,
        connect_redis(settings, timeout_seconds=SECONDS) as redis,
    ):
        try:
            database = open_database(mongo, settings.place)
            faults: tuple[NotUnderstood, ...] = ()
            if looks:
                streams, faults = await known.agree(database, streams, explicit=settings.declares)
            elif not registers:
                streams = await registry.agree(database, streams, explicit=settings.declares)
            return await command(Servers(settings, streams, mongo, database, redis, tuple(map(str, faults))))
        except (PyMongoError, RedisError) as error:
            stop_if_cancelled()  # Ctrl-C may come out of a driver as an error
            if await _is_only_slow(error, mongo):
                raise Slow(_SLOW.format(settings.mongodb_address)) from error
            raise _without_driver(error, settings) from error


_SLOW = """\
MongoDB answers, but took too long over what it was asked. See what it is busy with: db.currentOp() in mongosh
  MongoDB: {}"""


async def _is_only_slow(error: PyMongoError | RedisError, mongo: AsyncMongoClient[Document]) -> bool:
    """Whether a time of our own was over, and MongoDB can be reached."""
    if isinstance(error, RedisError | ServerSelectionTimeoutError) or not error.timeout:
        return False
    with suppress(PyMongoError), pymongo.timeout(SECONDS):
        await mongo.admin.command("ping")
        return True
    return False


def _without_driver(error: PyMongoError | RedisError, settings: OutboxSettings) -> OutboxError:
    mongo = server_of(error) == "mongodb"
    name, address = ("MongoDB", settings.mongodb_address) if mongo else ("Redis", settings.redis_address)
    cause = causes.explain(error)
    if classify(error) is Trouble.OUTAGE and cause.passes:
        return Unreachable(name, address, causes.detail(error))
    return Refused(f"{cause}\n  {name}: {address}")
