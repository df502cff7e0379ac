"""What is in MongoDB and Redis, and what commands write as JSON, once everything has been used a little."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from bson import ObjectId
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from structlog.testing import capture_logs

from outbox import Outbox
from outbox.database import OUTBOX, Database, Document
from outbox.message import transitions
from outbox.message.document import Sent
from outbox.message.transitions import Cause
from outbox.operations import recoveries
from outbox.protocol.leases import Leases
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import FILE_STREAM, Partition
from outbox_relay.daemon import Relay
from outbox_relay.settings import RelaySettings
from tests.cli.conftest import Cli
from tests.cli.reading import an_api
from tests.contracts.record import hold, shape

NOT_RECORDED = {"bench", "doctor", "key new"}
"""Commands with JSON of figures of a machine, of findings about it, and of a new key."""
RECORDED = {
    "init", "status", "verify", "audit", "replay", "enqueue", "migrate", "jobs list", "jobs show", "jobs cancel",
    "dead list", "dead show", "dead retry", "dead discard", "streams list",
}  # fmt: skip
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PAGES = ["/queue", "/files", "/outbox/stats", "/outbox/messages", "/outbox/replays", "/outbox/audit", "/health/live"]


async def test_what_is_stored_and_shown(
    bare: Cli, mongo: AsyncMongoClient[Document], database: str, redis: Redis
) -> None:
    db, settings = Database(mongo, database), load(OutboxSettings)
    shown: dict[str, Any] = {}

    async def show(command: str, *arguments: object) -> Any:
        result = await asyncio.to_thread(bare, *command.split(), *arguments, "--json")
        assert result.code in (0, 1), f"{command}: {result.err}"
        shown[command] = shape(result.json)
        return result.json

    await show("init", "--files")
    with capture_logs():  # or they would stand between what commands write
        await _use(db, settings)
    with capture_logs(), socket.create_server(("127.0.0.1", 0)) as listen:
        await Relay(load(RelaySettings), settings, listen=listen, until_empty=True).run()
    messages = await db[OUTBOX].find({"state": "published"}).sort("position").to_list()
    redis_now = await _redis(redis)
    await _work(db, [message["_id"] for message in messages], settings)

    for command in ("status", "verify", "streams list", "dead list"):
        await show(command)
    dead = [message["_id"] async for message in db[OUTBOX].find({"state": "dead"}).sort("position")]
    await show("dead show", dead[0])
    await show("dead retry", dead[0], ObjectId())
    await show("dead discard", dead[1], "--yes")
    await show("replay", "--since", "1h", "--yes")
    await db[OUTBOX].update_one({"_id": messages[0]["_id"]}, {"$set": {"state": "completed"}})
    replay = await show("replay", "--since", "1h", "--yes", "--detach")
    await show("jobs cancel", replay["job"])
    [job, *_] = (await show("jobs list"))["jobs"]
    await show("jobs show", job["id"])
    file = await db.files.find_one({"parsing": "queued"})
    assert file
    await show("enqueue", file["_id"])
    await show("migrate", "--dry-run")
    await show("audit")
    assert shown.keys() == RECORDED
    async with an_api(settings) as api:
        answers = {path: shape((await api.get(path)).json()) for path in PAGES}

    hold("json", shown)
    hold("answers", answers)
    hold("redis", redis_now)
    hold("mongodb", await _mongodb(db))


async def _use(db: Database, settings: OutboxSettings) -> None:
    """Uploads, one of them parsed again, and a message for later."""
    async with an_api(settings) as api:
        files = [("file", (f"{number}.txt", b"x")) for number in range(5)]
        headers = {"traceparent": TRACE, "Idempotency-Key": "k"}
        uploaded = (await api.post("/files", files=files, data={"folderId": "a"}, headers=headers)).json()["files"]
        await db.files.update_one({"_id": ObjectId(uploaded[0]["id"])}, {"$set": {"parsing": "error: broken"}})
        again = {"files_id": [uploaded[0]["id"]], "folderId": "b"}
        assert (await api.put("/files/reparse", json=again, headers={"traceparent": TRACE})).status_code == 200


WAITS = {"server": "redis", "what": "Redis is full", "do": "Raise maxmemory."}


async def _work(db: Database, ids: list[Any], settings: OutboxSettings) -> None:
    """What workers and relays write: one message done, one put off, two given up; a loss, and a relay that lives."""
    messages = db[OUTBOX]
    await messages.update_one(*transitions.complete(Sent(ids[0], 1)))
    waits: Any = {"reason": "it failed", "wait_milliseconds": 3_600_000, "suspect": "w", "forgive": 1}
    await messages.update_one(*transitions.put_back(Sent(ids[1], 1), Cause.TAKEN_OVER, **waits))
    for id_ in ids[2:4]:
        await messages.update_one(*transitions.give_up(Sent(id_, 1), Cause.FAILED, reason="it failed"))
    partition = Partition(FILE_STREAM, 0)
    counts = {"recovered": 1, "settled": 1, "kept": 1}
    await recoveries.record(db, partition, owner="relay", verdict="tail lost", **counts)
    await Leases(db, settings.streams, "relay", seconds=600).renew({"host": "h", "pid": 1, "waits_for": [WAITS]})
    outbox = Outbox(settings.streams, database=db.name)
    async with db.client.start_session() as session, await session.start_transaction():
        file = ObjectId()
        await db.files.insert_one({"_id": file, "parsing": "queued"}, session=session)
        await outbox.append(session, FILE_STREAM, {"file_id": str(file)}, key=str(file))


async def _redis(redis: Redis) -> Any:
    commands: Any = redis
    entries = [fields for _, fields in await commands.xrange(FILE_STREAM)]
    keys: dict[str, Any] = {}
    for key in sorted(await commands.keys("*")):
        name = key.replace(key.rpartition(":")[2], "<number>") if key[-1].isdigit() else key
        kind = await commands.type(key)
        keys.setdefault(name, {"type": kind, "fields": set()})
        if kind == "hash":
            keys[name]["fields"] |= set(await commands.hkeys(key))
    groups = [group["name"] for group in await commands.xinfo_groups(FILE_STREAM)]
    return {
        "entries": sorted({" ".join(sorted(entry)) for entry in entries}),
        "keys": {name: {**one, "fields": sorted(one["fields"])} for name, one in keys.items()},
        "groups": groups,
    }


async def _mongodb(db: Database) -> Any:
    """Each collection: validator, indexes, and which fields with which types its documents have."""
    inner: Any = db[OUTBOX].database
    found: dict[str, Any] = {}
    async for collection in await inner.list_collections():
        name, options = collection["name"], collection["options"]
        indexes = {n: dict(index) for n, index in (await inner[name].index_information()).items()}
        fields: defaultdict[str, set[str]] = defaultdict(set)
        async for document in inner[name].find():
            for path, kind in _fields(document):
                fields[path].add(kind)
        kept = {n: sorted(kinds) for n, kinds in fields.items()}
        found[name] = {"options": shape_free(options), "indexes": indexes, "documents": kept}
    return found


def shape_free(options: Mapping[str, Any]) -> Any:
    return {name: value for name, value in options.items() if name != "uuid"}


def _fields(document: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from _fields(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", str(shape(value)) if not isinstance(value, list) else "list"
