"""How `before.json` was made: a database and a Redis in use, as the version before left them.

Run by hand, with that version's own code and programs; nothing of today's is imported but `dump.py`:

    git worktree add /tmp/before c090213
    python3 -m venv /tmp/before/.venv && /tmp/before/.venv/bin/pip install '/tmp/before[embedded]' httpx
    MONGODB_URI=... REDIS_URL=... /tmp/before/.venv/bin/python tests/upgrade/record.py tests/upgrade/before.json

The two are servers that hold nothing yet: a replica set, and Redis 7.0 or later.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
from bson import ObjectId, json_util
from pymongo import MongoClient
from redis import Redis

from outbox import Outbox, Stream, Streams, Subject

DATABASE = "outbox"
FILES, PARSERS = "file_parsing_queue", "file_parsers"
EXPORTS, EXPORTERS = "exports", "exporters"
SETTING = [
    {"name": FILES, "group": PARSERS, "partitions": 2, "subject": {}},
    {"name": EXPORTS, "group": EXPORTERS, "partitions": 1},
]
STREAMS = Streams([Stream(FILES, PARSERS, partitions=2, subject=Subject()), Stream(EXPORTS, EXPORTERS, partitions=1)])


async def handle(message: Any, session: Any) -> None:
    """The workers' handler."""
    database = session.client[DATABASE]
    await database.handled.insert_one({"message": message.id, "key": message.key}, session=session)
    if message.fields.get("filename") in ("broken", "retried") and message.attempt == 1:
        raise import_module("outbox.consumer").GiveUp("it cannot be read")
    if message.stream == FILES:
        change = {"$set": {"parsing": "parsed"}}
        await database.files.update_one({"_id": ObjectId(message.key)}, change, session=session)


class Recording:
    """The programs of the version before, on servers of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ, "MONGODB_DATABASE": DATABASE, "OUTBOX_STREAMS": json.dumps(SETTING),
            "RELAY_TRIM_SECONDS": "1", "OUTBOX_LOG_FORMAT": "json", "PYTHONPATH": str(Path(__file__).parent),
        }  # fmt: skip
        self.redis: Any = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
        self.mongo: MongoClient[dict[str, Any]] = MongoClient(os.environ["MONGODB_URI"])
        self.database: Any = self.mongo[DATABASE]
        self.ids: dict[str, ObjectId] = {}
        """Messages by the names that the test knows them by."""

    def run(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "-P", "-m", "outbox", *arguments], env=self.environment, check=True)

    @contextmanager
    def program(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / f"{arguments[0]}.log").open("ab") as log:
            command = [sys.executable, "-P", "-m", "outbox", *arguments]
            process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def relay(self) -> Any:
        return self.program("relay", "--port", "0")

    def worker(self) -> Any:
        return self.program("worker", "--handler", "record:handle")

    def upload(self, url: str, name: str, **headers: str) -> ObjectId:
        def answers() -> bool:
            try:
                return httpx.get(f"{url}/health/live").is_success
            except httpx.TransportError:
                return False

        until(answers)
        answer = httpx.post(
            f"{url}/files", files={"file": (name, name.encode())}, data={"folderId": "f"}, headers=headers
        )
        answer.raise_for_status()
        file = ObjectId(answer.json()["id"])
        self.ids[name] = self.database.outbox.find_one({"key": str(file)})["_id"]
        return file

    def append(self, name: str, due: datetime | None = None, stream: str = EXPORTS) -> None:
        key = str(ObjectId())
        outbox = Outbox(STREAMS, database=DATABASE)
        with self.mongo.start_session() as session, session.start_transaction():
            if stream == FILES:
                file = {"_id": ObjectId(key), "filename": name, "parsing": "queued"}
                self.database.files.insert_one(file, session=session)
            fields = {"file_id": key, "filename": name}
            self.ids[name] = outbox.append(session, stream, fields, key=key, available_at=due)

    def state(self, name: str) -> str:
        return str(self.database.outbox.find_one({"_id": self.ids[name]})["state"])

    def becomes(self, state: str, *names: str) -> None:
        until(lambda: all(self.state(name) == state for name in names))

    def give(self, stream: str, group: str, consumer: str) -> str:
        """A worker of another make is given the next entry."""
        ((_, ((entry, _),)),) = self.redis.xreadgroup(group, consumer, {stream: ">"}, count=1)
        return str(entry)


def until(probe: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not probe():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def foreign(recording: Recording) -> None:
    """What other programs keep in the same database and the same Redis."""
    database, redis = recording.database, recording.redis
    database.create_collection("customers", validator={"name": {"$type": "string"}})
    database.customers.create_index("name", unique=True, name="by_name")
    database.customers.insert_many([{"_id": n, "name": f"customer {n}"} for n in range(3)])
    database.files.create_index("owner", name="by_owner", sparse=True)
    database.outbox.create_index("created_at", name="by_day")
    redis.set("session:1", "somebody's")
    redis.xadd("billing", {"invoice": "1"})
    redis.xadd("billing", {"invoice": "2"})
    redis.xgroup_create("billing", "billers", "0")
    redis.xreadgroup("billers", "biller-1", {"billing": ">"}, count=1)


def record(recording: Recording) -> None:
    recording.run("init")
    foreign(recording)
    database, redis = recording.database, recording.redis
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with recording.program("api", "--port", str(port)) as api:
        with recording.relay(), recording.worker():
            done = recording.upload(url, "done")
            recording.upload(url, "repeated", **{"Idempotency-Key": "once"})
            replayed = recording.upload(url, "replayed")
            recording.upload(url, "broken")
            recording.upload(url, "retried")
            recording.append("exported")
            recording.becomes("completed", "done", "repeated", "replayed", "exported")
            recording.becomes("dead", "broken", "retried")
            recording.run("replay", "--key", str(done), "--yes")  # a job that has ended
            recording.becomes("completed", "done")
        with recording.relay() as relay:
            # Other workers, and ours that died with their entries in hand.
            plain = recording.upload(url, "plain")
            recording.becomes("published", "plain")
            entry = recording.give(FILES, PARSERS, "plain-1")
            database.files.update_one({"_id": plain}, {"$set": {"parsing": "parsed"}})
            redis.xack(FILES, PARSERS, entry)
            settled = recording.upload(url, "settled")
            recording.becomes("published", "settled")
            entry = recording.give(FILES, PARSERS, "plain-1")
            database.files.update_one({"_id": settled}, {"$set": {"parsing": "parsed"}})
            redis.xack(FILES, PARSERS, entry)
            for name, consumer in (("forgotten", "plain-1"), ("taken", "outbox:dead-1")):
                recording.upload(url, name)
                recording.becomes("published", name)
                recording.give(FILES, PARSERS, consumer)
            for name in ("acknowledged", "in hand", "export taken"):
                recording.append(name)
                recording.becomes("published", name)
                entry = recording.give(EXPORTS, EXPORTERS, "outbox:dead-1" if name == "export taken" else "plain-1")
                if name == "acknowledged":
                    redis.xack(EXPORTS, EXPORTERS, entry)
                    recording.becomes("completed", name)
            recording.upload(url, "waiting")
            recording.append("export waiting")
            recording.becomes("published", "waiting", "export waiting")
            relay.kill()  # it leaves its leases and its place on the list
        # Published and not marked: the relay died between the two.
        recording.upload(url, "unmarked")
        before = database.outbox.find_one({"_id": recording.ids["unmarked"]})
        recording.run("relay", "--once", "--port", "0")
        recording.becomes("published", "unmarked")
        database.outbox.replace_one({"_id": before["_id"]}, before)
        database.outbox_partitions.update_one(
            {"stream": FILES, "number": before["partition"]},
            [{"$set": {"owner": "killed-relay", "expires_at": "$$NOW"}}],
        )
        by_hand = ObjectId()
        database.files.insert_one({"_id": by_hand, "filename": "by hand", "parsing": "queued"})
        redis.xadd(FILES, {"file_id": str(by_hand), "folder_id": "f"})

        # While no relay runs.
        recording.upload(url, "pending")
        recording.append("export pending")
        recording.append("due", datetime.now(UTC) + timedelta(seconds=1), FILES)
        recording.append("some day", datetime.now(UTC) + timedelta(days=365 * 50), FILES)
        recording.run("dead", "retry", str(recording.ids["retried"]))
        answer = httpx.put(f"{url}/files/reparse", json={"files_id": [str(plain)], "folderId": "f"})
        answer.raise_for_status()
        recording.ids["reparse"] = database.outbox.find_one({"key": str(plain), "state": "pending"})["_id"]
        httpx.post(f"{url}/outbox/replay", json={"key": str(replayed)}).raise_for_status()  # a job that waits

        abandoned = interrupted(url, api, database)
        long_ago = datetime.now(UTC) - timedelta(hours=2)
        database.files.update_one({"_id": abandoned}, {"$set": {"created_at": long_ago, "updated_at": long_ago}})
        recording.ids["abandoned upload"] = abandoned
        # The removal of another one had begun.
        database.files.insert_one(
            {
                "_id": ObjectId(),
                "filename": "half removed",
                **dict.fromkeys(("folder_id", "message_id", "sha256", "size")),
                "parsing": "abandoned",
                "version": 0,
                "updated_at": long_ago,
            }
        )


def interrupted(url: str, api: subprocess.Popen[bytes], database: Any) -> ObjectId:
    """An upload whose API dies under it, with some of its contents stored."""

    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="half"\r\n\r\nx'
        until(lambda: bool(database.files.count_documents({"filename": "half"})))
        api.kill()
        yield b"x"

    with suppress(httpx.TransportError):
        httpx.post(f"{url}/files", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    found: ObjectId = database.files.find_one({"filename": "half"})["_id"]
    # As it would have stored the first part of a larger file.
    database["fs.chunks"].insert_one({"files_id": found, "n": 0, "data": b"x"})
    return found


def main(target: Path) -> None:
    today = Path(__file__).parents[2]
    assert today not in Path(import_module("outbox").__file__ or "").parents, "this is today's code"
    sys.path.append(str(today))  # last, so that all else is of that version
    dump = import_module("tests.upgrade.dump")
    with tempfile.TemporaryDirectory() as name:
        recording = Recording(Path(name))
        try:
            record(recording)
        except BaseException:
            for log in Path(name).glob("*.log"):
                print(log.name, log.read_text()[-3000:])
            raise
        written = {
            "at": datetime.now(UTC),
            "streams": SETTING,
            "messages": recording.ids,
            "mongodb": dump.dump_mongodb(recording.database),
            "redis": dump.dump_redis(recording.redis),
        }
    target.write_text(json_util.dumps(written, json_options=json_util.CANONICAL_JSON_OPTIONS, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
