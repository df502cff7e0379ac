"""Put back what `record.py` has recorded: into a database, and into a Redis 7.0 or later, by commands that all have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bson import ObjectId, json_util
from pymongo.database import Database

FILE = Path(__file__).with_name("before.json")
Document = dict[str, Any]
Commands = Iterator[list[Any]]

AT_WORK = {"in hand"}
"""What a worker is at work on; everything else that is held was forgotten long ago."""
LONG_AGO = timedelta(minutes=10)


@dataclass(frozen=True)
class Before:
    """What the version before has left. `messages`: their ids by the names that the record gives them."""

    streams: list[Document]
    messages: dict[str, ObjectId]
    mongodb: dict[str, Document]
    redis: dict[str, Document]

    @classmethod
    def read(cls) -> Before:
        """As if it had been recorded just now: its dates are moved, so that nothing is past its time."""
        read = json_util.loads(FILE.read_text(), json_options=json_util.JSONOptions(tz_aware=True))
        moved = _moved(read["mongodb"], datetime.now(UTC) - read["at"])
        return cls(read["streams"], read["messages"], moved, read["redis"])

    def document(self, name: str) -> Document:
        found = [one for one in self.mongodb["outbox"]["documents"] if one["_id"] == self.messages[name]]
        return dict(found[0])

    def to_mongodb(self, database: Database[Document]) -> None:
        for name, collection in self.mongodb.items():
            database.create_collection(name, **collection["options"])
            if collection["indexes"]:
                database.command("createIndexes", name, indexes=collection["indexes"])
            if collection["documents"]:
                database[name].insert_many(collection["documents"], bypass_document_validation=True)

    def to_redis(self, redis: Any) -> None:
        for key, value in self.redis.items():
            for command in self._commands(key, value):
                redis.execute_command(*command)

    def _commands(self, key: str, value: Document) -> Commands:
        if "hash" in value:
            yield ["HSET", key, *(word for pair in value["hash"].items() for word in pair)]
        elif "string" in value:
            yield ["SET", key, value["string"]]
        else:
            yield from self._stream(key, value["stream"])

    def _stream(self, key: str, stream: Document) -> Commands:
        at_work = {str(self.messages[name]) for name in AT_WORK}
        long_ago = int((datetime.now(UTC) - LONG_AGO).timestamp() * 1000)
        working = set()
        for entry, fields in stream["entries"]:
            yield ["XADD", key, entry, *(word for pair in fields.items() for word in pair)]
            working |= {entry} if fields.get("message_id") in at_work else set()
        yield ["XSETID", key, stream["last"], "ENTRIESADDED", stream["added"], "MAXDELETEDID", stream["deleted"]]
        for group in stream["groups"]:
            yield ["XGROUP", "CREATE", key, group["name"], group["last"], "ENTRIESREAD", group["read"]]
            for consumer, held in group["held"].items():
                yield ["XGROUP", "CREATECONSUMER", key, group["name"], consumer]
                for entry, times in held:
                    claim = ["XCLAIM", key, group["name"], consumer, 0, entry, "RETRYCOUNT", times, "FORCE", "JUSTID"]
                    yield claim if entry in working else [*claim[:6], "TIME", long_ago, *claim[6:]]


def _moved(value: Any, by: timedelta) -> Any:
    match value:
        case datetime():
            return value + by
        case dict():
            return {name: _moved(inner, by) for name, inner in value.items()}
        case list():
            return [_moved(inner, by) for inner in value]
        case _:
            return value
