"""A database and a Redis in use by the version before: `outbox init` of today's version, and a rolling restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId, Timestamp
from pymongo.database import Database
from redis import Redis

from outbox.embedded import Mongod
from outbox.settings import OutboxSettings, load
from tests.api.serving import Api
from tests.relay.processes import RelayProcess
from tests.upgrade.dump import dump_key, dump_redis
from tests.upgrade.loading import AT_WORK, Before, Document
from tests.waiting import eventually_sync
from tests.worker.processes import WorkerProcess

WAITS = {
    "pending", "reparse", "retried", "unmarked", "due", "waiting", "forgotten", "taken",
    "export pending", "export waiting", "export taken",
}  # fmt: skip
"""What somebody has to handle still."""
AGAIN = {"replayed"}
"""What was done, and is asked for again by a replay that had not begun."""
DONE = {"done", "repeated", "plain", "settled", "exported", "acknowledged"}
REST = {"broken", "some day"}
"""Dead, and not due for years."""
FOREIGN_KEYS = ("billing", "session:1")
FOREIGN_INDEXES = {"customers": "by_name", "files": "by_owner", "outbox": "by_day"}


@dataclass
class Place:
    """The servers of the version before, with what it has left, and today's programs."""

    before: Before
    database: Database[Document]
    redis: Any
    environment: Mapping[str, str]
    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "outbox", *arguments]
        return subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60
        )

    def handled(self) -> Counter[Any]:
        return Counter(one["message"] for one in self.database.handled.find())

    def document(self, name: str) -> Document:
        found = self.database.outbox.find_one({"_id": self.before.messages[name]})
        assert found, name
        return found

    def foreign(self) -> Document:
        """All that is not ours, in full."""
        options = {one["name"]: one["options"] for one in self.database.list_collections()}
        return {
            "customers": (options["customers"], list(self.database.customers.find())),
            "indexes": {
                name: next(index for index in self.database[name].list_indexes() if index["name"] == wanted)
                for name, wanted in FOREIGN_INDEXES.items()
            },
            "keys": {key: dump_key(self.redis, key) for key in FOREIGN_KEYS},
        }


@pytest.fixture
def place(mongod: Mongod, mongodb_uri: str, database: str, redis_url: str, tmp_path: Path) -> Iterator[Place]:
    before = Before.read()
    # So that a relay looks for what is stuck more often.
    streams = [{**stream, "rescue_seconds": 100} for stream in before.streams]
    environment = {
        "MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": database, "REDIS_URL": redis_url,
        "OUTBOX_STREAMS": json.dumps(streams), "OUTBOX_RETENTION_DAYS": "36500", "OUTBOX_LOG_FORMAT": "json",
        "RELAY_LEASE_SECONDS": "2", "RELAY_TRIM_SECONDS": "1", "RELAY_PRUNE_SECONDS": "1",
        "RELAY_ABANDONED_SECONDS": "5", "API_ABANDONED_SECONDS": "5", "API_IDLE_SECONDS": "2",
    }  # fmt: skip
    with mongod.client() as client, Redis.from_url(redis_url, decode_responses=True) as redis:
        made = Place(before, client[database], redis, environment, tmp_path)
        before.to_mongodb(made.database)
        before.to_redis(redis)
        # Other tests have removed consumers on this server. What is restored comes from another one, so for each entry
        # acknowledged since the last look it may have been such a removal, and what was done would come again.
        redis.config_resetstat()
        yield made


def old_api_appends(place: Place, name: str) -> ObjectId:
    """An API of the version before that is still up appends a message, in the form that it knows."""
    file, message = ObjectId(), ObjectId()
    like = next(one for one in place.before.mongodb["files"]["documents"] if one["filename"] == "pending")
    place.database.files.insert_one({**like, "_id": file, "filename": name, "message_id": message})
    place.database.outbox.insert_one(
        {
            **place.before.document("pending"), "_id": message, "key": str(file), "position": Timestamp(0, 0),
            "fields": {"file_id": str(file), "filename": name, "folder_id": "f"},
        }
    )  # fmt: skip
    return message


def old_relay_lives(place: Place) -> None:
    """A relay of the version before holds a partition and is on the list, until its time is over."""
    alive = [{"$set": {"expires_at": {"$add": ["$$NOW", 3000]}, "host": "old", "pid": 1}}]
    place.database.outbox_relays.insert_one({"_id": "old-relay", "expires_at": None})
    place.database.outbox_relays.update_one({"_id": "old-relay"}, alive)
    place.database.outbox_partitions.update_one(
        {"_id": "file_parsing_queue/0"},
        [{"$set": {"owner": "old-relay", "token": {"$add": ["$token", 1]}, "expires_at": {"$add": ["$$NOW", 3000]}}}],
    )


@pytest.mark.timeout(300)
def test_what_the_version_before_has_left_is_brought_over(place: Place) -> None:
    before, foreign, handled = place.before, place.foreign(), place.handled()
    assert {name: before.document(name)["state"] for name in ("some day", "broken", "pending", "waiting", "done")} == {
        "some day": "scheduled", "broken": "dead", "pending": "pending", "waiting": "published", "done": "completed",
    }  # fmt: skip

    for _ in range(2):  # a second time, it finds nothing to do
        init = place.run("init")
        assert init.returncode == 0, init.stderr
    assert "nothing to do" in init.stdout
    assert place.foreign() == foreign
    assert_old_programs_go_on(place)
    assert Counter(one["state"] for one in place.database.outbox.find()) == Counter(
        one["state"] for one in before.mongodb["outbox"]["documents"]
    )

    old_relay_lives(place)
    late = [old_api_appends(place, "late 1")]
    settings = load(
        OutboxSettings, mongodb_uri=place.environment["MONGODB_URI"], mongodb_database=place.database.name,
        redis_url=place.environment["REDIS_URL"],
    )  # fmt: skip
    with ExitStack() as running:
        api = running.enter_context(Api(place.folder, settings, **place.environment))
        relay = RelayProcess(place.folder / "relay.log", place.environment)
        worker = WorkerProcess(
            place.folder / "worker.log", place.environment, "tests.upgrade.handlers:handle", "--silent-seconds", "1"
        )
        for program in (relay, worker):
            running.callback(program.kill)
            program.start()
        late.append(old_api_appends(place, "late 2"))
        in_hand(place)

        wanted = [*(before.messages[name] for name in WAITS | AGAIN), *late]

        def all_handled() -> bool:
            assert not relay.has_ended(), relay.text()
            assert not worker.has_ended(), worker.text()
            new = place.handled() - handled
            missing = [name for name in WAITS | AGAIN if before.messages[name] not in new]
            assert not missing, f"{missing}\n{relay.text()}\n{worker.text()}"
            return all(one in new for one in wanted)

        eventually_sync(all_handled, 60, what="all that waited is handled")
        by_hand = place.database.files.find_one({"filename": "by hand"})
        assert by_hand

        def parsed() -> bool:
            file = place.database.files.find_one(by_hand["_id"])
            adopted = list(place.database.outbox.find({"key": str(by_hand["_id"])}))
            assert file
            assert file["parsing"] == "parsed", f"{file}\n{adopted}\n{relay.text()}\n{worker.text()}"
            return True

        eventually_sync(parsed, 30, what="the file that was queued by hand is parsed")
        eventually_sync(
            lambda: place.document("in hand")["state"] == "completed", 30, what="the plain worker's is done"
        )
        eventually_sync(lambda: not unfinished(place), 30, what="nothing is on its way any more")

        new = place.handled() - handled
        (adopted,) = new.keys() - set(wanted)
        assert set(new.values()) == {1}
        assert place.database.outbox.find_one({"_id": adopted})["key"] == str(by_hand["_id"])  # type: ignore[index]
        for name in DONE | REST:
            now, was = place.document(name), before.document(name)
            assert (now["attempts"], now["fields"]) == (was["attempts"], was["fields"]), name
            assert now["state"] == was["state"] or (name, now["state"]) == ("settled", "completed")
        assert {one["filename"] for one in place.database.files.find({"parsing": {"$ne": "parsed"}})} - UPLOADS == {
            "broken", "some day",
        }  # fmt: skip

        repeated(place, api)
        eventually_sync(
            lambda: not place.database.files.count_documents({"filename": {"$in": list(UPLOADS)}}), 30,
            what="what the API before has begun and abandoned is removed",
        )  # fmt: skip
        abandoned = before.messages["abandoned upload"]
        assert place.database["fs.chunks"].count_documents({"files_id": abandoned}) == 0
        records = place.database.outbox_audit.find({}, {"_id": 1})
        assert {one["_id"] for one in records} >= {one["_id"] for one in before.mongodb["outbox_audit"]["documents"]}
        verify(place)
        assert place.foreign() == foreign


def assert_old_programs_go_on(place: Place) -> None:
    """What the version before looks at, at its start and for its readiness, is as it was.

    Otherwise its API, which goes on until it is replaced, would count as not ready from `outbox init` on.
    """
    options = {one["name"]: one["options"] for one in place.database.list_collections()}
    for name, collection in place.before.mongodb.items():
        assert options[name] == collection["options"], name
        there = list(place.database[name].list_indexes())
        assert [index for index in collection["indexes"] if index not in there] == [], name
    partitions = {one["_id"] for one in place.database.outbox_partitions.find()}
    assert partitions >= {one["_id"] for one in place.before.mongodb["outbox_partitions"]["documents"]}


UPLOADS = {"half", "half removed"}


def in_hand(place: Place) -> None:
    """A worker of another make was at work all the while, and is done now."""
    (name,) = AT_WORK
    (entry,) = [
        entry
        for entry, fields in place.before.redis["exports"]["stream"]["entries"]
        if fields["message_id"] == str(place.before.messages[name])
    ]
    assert place.redis.xack("exports", "exporters", entry) == 1


def unfinished(place: Place) -> list[Document]:
    """Messages that are neither done nor to rest, the settled one aside."""
    rest = [place.before.messages[name] for name in {*REST, "settled"}]
    return list(place.database.outbox.find({"_id": {"$nin": rest}, "state": {"$ne": "completed"}}))


def repeated(place: Place, api: Api) -> None:
    """An upload that the API before has answered is answered the same."""
    first = next(one for one in place.before.mongodb["files"]["documents"] if one["filename"] == "repeated")
    answer = httpx.post(
        f"{api.url}/files", files={"file": ("repeated", b"repeated")}, data={"folderId": "f"},
        headers={"Idempotency-Key": "once"}, timeout=30,
    )  # fmt: skip
    assert answer.status_code in (200, 201), answer.text
    assert answer.json()["id"] == str(first["_id"])
    assert place.database.files.count_documents({"filename": "repeated"}) == 1


def verify(place: Place) -> None:
    """All is well, but for the message that died before."""

    def told() -> tuple[int, list[Document]]:
        """While the relay is seen to live: its lease of two seconds runs out when this machine stands still."""
        run = place.run("verify", "--json")
        found = json.loads(run.stdout)["findings"]
        assert "no-relay" not in {finding["check"] for finding in found}, found
        return run.returncode, found

    _, found = eventually_sync(told, 30)
    assert {finding["check"] for finding in found} == {"dead"}, found
    assert place.run("dead", "discard", str(place.before.messages["broken"]), "--yes").returncode == 0
    assert eventually_sync(told, 30) == (0, [])


def test_a_redis_of_any_kind_takes_what_was_recorded(place: Place) -> None:
    assert dump_redis(place.redis) == {key: _plain(value) for key, value in place.before.redis.items()}


def _plain(value: Any) -> Any:
    """As the client has it: pairs are tuples there."""
    if isinstance(value, dict) and "entries" in value:
        value = {**value, "entries": [tuple(entry) for entry in value["entries"]]}
    return {name: _plain(inner) for name, inner in value.items()} if isinstance(value, dict) else value
