"""Emptying the servers of the tests, between two of them."""

from __future__ import annotations

from collections.abc import Iterable

from pymongo import MongoClient, WriteConcern
from redis import Redis

from outbox.database import META, PARTITIONS, SERVERS_OWN, STREAMS, Document, Place, PlainDatabase
from outbox.settings import OutboxSettings


def clear(client: MongoClient[Document], settings: OutboxSettings, places: Iterable[Place]) -> None:
    """Delete all documents but what `outbox init` has written, and all of Redis. Collections and indexes stay.

    No stream is paused afterwards.

    :param places: those of all outboxes on these servers.
    """
    ours = PlainDatabase(client, settings.place)
    kept = {PlainDatabase(client, each)[name].full_name for each in places for name in (META, STREAMS, PARTITIONS)}
    for name in set(client.list_database_names()).difference(SERVERS_OWN):
        database = client[name]
        for collection in database.list_collection_names(
            filter={"type": {"$in": ["collection", "timeseries"]}, "name": {"$regex": r"^(?!system\.)"}}
        ):
            if f"{name}.{collection}" not in kept:
                # Fast: the last write waits for all before it.
                database.get_collection(collection, write_concern=WriteConcern(1)).delete_many({})
    with Redis.from_url(settings.redis_dsn) as redis:
        redis.flushall()
    unowned = {"owner": None, "token": 0, "expires_at": None, "batch": 0, "tag": ""}
    ours[PARTITIONS].update_many({}, {"$set": unowned})
    ours[STREAMS].update_many({}, {"$unset": {"paused": "", "resumed_at": ""}})
