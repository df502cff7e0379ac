"""Ten things wrong at once, on servers of their own: each is named, the most dangerous first, and can be mended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId

from outbox.embedded import Mongod, RedisServer
from tests.cli.conftest import Cli
from tests.cli.doctor.conftest import Doctor

PLANTED = {
    "majority-journal": "danger",
    "default-write-concern": "danger",
    "schema": "danger",
    "declaration": "danger",
    "redis-rights": "danger",
    "eviction": "danger",
    "append-only-file": "danger",
    "write-concern": "danger",
    "subject": "danger",
    "read-preference": "warning",
    "retention": "warning",
    "redis-memory-limit": "warning",
}
"""In the order in which they are found."""


def test_ten_misconfigurations_and_the_way_back(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"appendonly": "no", "maxmemory-policy": "allkeys-lru"}
    with Mongod(tmp_path / "mongod") as mongod, RedisServer(tmp_path / "redis", options=options) as server:
        monkeypatch.setattr("outbox.cli.servers.SECONDS", 10.0)
        monkeypatch.setenv("MONGODB_URI", mongod.uri)
        monkeypatch.setenv("REDIS_URL", server.url)
        assert cli("init", "--files").code == 0
        doctor = Doctor(cli)
        with mongod.client() as mongo, server.client() as redis:
            plant(mongo, redis)
            monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([{"name": "file_parsing_queue", "group": "others"}]))
            monkeypatch.setenv("OUTBOX_RETENTION_DAYS", "0.1")
            monkeypatch.setenv("REDIS_URL", server.url.replace("//", "//relay:relay@"))
            monkeypatch.setenv("MONGODB_URI", f"{mongod.uri}&w=1&readPreference=secondaryPreferred")
            assert list(doctor.levels().items()) == list(PLANTED.items())
            text = cli("doctor")
            assert text.code == 1
            assert "10 of what was found endangers a promise" in text.err

            for name in ("OUTBOX_STREAMS", "OUTBOX_RETENTION_DAYS"):
                monkeypatch.delenv(name)
            monkeypatch.setenv("MONGODB_URI", mongod.uri)
            monkeypatch.setenv("REDIS_URL", server.url)
            mend(mongo, redis)
            assert cli("init").code == 0
            assert doctor() == {}


def plant(mongo: Any, redis: Any) -> None:
    mongo.admin.command("setDefaultRWConcern", 1, defaultWriteConcern={"w": 1})
    reconfigure(mongo, False)
    mongo["outbox"].outbox.drop_index("pending")
    mongo["outbox"].files.insert_one({"_id": ObjectId(), "status": "queued"})
    redis.execute_command("ACL", "SETUSER", "relay", "on", ">relay", "~*", "+@all", "-xadd")


def mend(mongo: Any, redis: Any) -> None:
    mongo.admin.command("setDefaultRWConcern", 1, defaultWriteConcern={"w": "majority"})
    reconfigure(mongo, True)
    mongo["outbox"].files.delete_many({})
    for name, value in {"appendonly": "yes", "maxmemory-policy": "noeviction", "maxmemory": "1gb"}.items():
        redis.config_set(name, value)


def reconfigure(mongo: Any, journal: bool) -> None:
    config = mongo.admin.command("replSetGetConfig")["config"]
    config |= {"version": config["version"] + 1, "writeConcernMajorityJournalDefault": journal}
    mongo.admin.command("replSetReconfig", config)
