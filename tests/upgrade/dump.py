"""What both servers hold, as JSON."""

from __future__ import annotations

from typing import Any


def dump_mongodb(database: Any) -> dict[str, Any]:
    found = {}
    for collection in database.list_collections():
        name = collection["name"]
        found[name] = {
            "options": collection["options"],
            "indexes": [index for index in database[name].list_indexes() if index["name"] != "_id_"],
            "documents": list(database[name].find()),
        }
    return found


def dump_redis(redis: Any) -> dict[str, Any]:
    return {key: dump_key(redis, key) for key in sorted(redis.keys("*"))}


def dump_key(redis: Any, key: str) -> dict[str, Any]:
    match redis.type(key):
        case "hash":
            return {"hash": redis.hgetall(key)}
        case "string":
            return {"string": redis.get(key)}
        case "stream":
            stream = redis.xinfo_stream(key)
            return {
                "stream": {
                    "entries": redis.xrange(key),
                    "last": stream["last-generated-id"],
                    "added": stream["entries-added"],
                    "deleted": stream["max-deleted-entry-id"],
                    "groups": [dump_group(redis, key, group) for group in redis.xinfo_groups(key)],
                }
            }
        case other:
            raise AssertionError(f"{key} is a {other}")


def dump_group(redis: Any, key: str, group: dict[str, Any]) -> dict[str, Any]:
    name = group["name"]
    pending = redis.xpending_range(key, name, "-", "+", 1000)
    held: dict[str, list[list[Any]]] = {consumer["name"]: [] for consumer in redis.xinfo_consumers(key, name)}
    for one in pending:
        held[one["consumer"]].append([one["message_id"], one["times_delivered"]])
    return {"name": name, "last": group["last-delivered-id"], "read": group["entries-read"], "held": held}
