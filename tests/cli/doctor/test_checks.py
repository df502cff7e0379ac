"""Each check: what is wrong is named, with its danger; and is not, once it is mended as the finding says."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bson import ObjectId

from outbox.embedded import Mongod, RedisServer
from outbox.operations import doctor as doctor_package
from outbox.operations.doctor import addresses, clocks, mongodb
from outbox.operations.doctor import redis as redis_checks
from outbox.settings import OutboxSettings, load
from tests.cli.conftest import Cli, Shelf
from tests.cli.doctor.conftest import Doctor
from tests.cli.verify.test_servers import Alone
from tests.documents import PAGES, anchors

STREAM = "file_parsing_queue"
FOLDER = Path(doctor_package.__file__).parent
VERIFIED = ("replica-set", "schema", "foreign-stream", "oplog", "eviction", "append-only-file")
"""What the doctor has from `outbox verify`."""


def mended(redis: Any, finding: dict[str, Any]) -> None:
    """Run the finding's command, as redis-cli would."""
    redis.execute_command(*shlex.split(finding["mend"].split(",")[0])[1:])


def declare(monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    stream = {"name": STREAM, "group": "file_parsers", "subject": {}, **values}
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([stream]))


def test_nothing_is_found_where_nothing_is_wrong(doctor: Doctor, outbox: Cli) -> None:
    assert doctor() == {}
    text = outbox("doctor")
    assert text.code == 0
    assert "ADVICE   the replica set has 1 member  [members]" in text.out


def test_mongodb_alone(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Alone(tmp_path / "mongod", initiate=False) as mongod:
        monkeypatch.setenv("MONGODB_URI", f"mongodb://{mongod.address}/?directConnection=true")
        assert doctor.levels()["replica-set"] == "danger"


def test_a_database_that_is_not_set_up(bare: Cli) -> None:
    assert bare("doctor").code == 1
    assert Doctor(bare)()["schema"]["mend"].startswith("outbox init; or correct MONGODB_DATABASE")


def test_an_index_that_is_missing(doctor: Doctor, outbox: Cli, shelf: Shelf) -> None:
    shelf.db.outbox.drop_index("pending")
    assert doctor.levels() == {"schema": "danger"}
    outbox("init")
    assert doctor() == {}


def test_the_schema_of_the_next_version(doctor: Doctor, shelf: Shelf) -> None:
    shelf.db.outbox_meta.update_one({}, {"$inc": {"schema": 1}})
    assert doctor.levels() == {"schema-version": "warning"}


def test_declarations_that_contradict_what_is_registered(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, partitions=9)
    finding = doctor()["declaration"]
    assert finding["level"] == "danger"
    assert "partitions is declared as 9 and registered as 4" in finding["what"]
    declare(monkeypatch, rescue_seconds=77)
    assert doctor.levels() == {"declared-otherwise": "advice"}
    declare(monkeypatch)
    assert doctor() == {}


def test_streams_without_limits(doctor: Doctor, outbox: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, max_undelivered=0, trim=False, rescue_seconds=0)
    assert outbox("init").code == 0
    assert doctor.levels() == dict.fromkeys(
        ("stream-without-limit", "stream-not-trimmed", "stream-without-rescue"), "warning"
    )


def test_a_stream_of_another_outbox(doctor: Doctor, redis: Any) -> None:
    redis.hset(f"{{{STREAM}}}:outbox:stream", mapping={"outbox": "f" * 32, "database": "staging"})
    assert doctor.levels() == {"foreign-stream": "danger"}


def test_a_subject_that_is_not_as_declared(doctor: Doctor, shelf: Shelf) -> None:
    shelf.db.files.insert_one({"_id": ObjectId(), "status": "queued"})
    finding = doctor()["subject"]
    assert finding["level"] == "danger"
    assert "has the field parsing" in finding["what"]
    shelf.db.files.drop()
    assert doctor()["subject"]["level"] == "warning", "the application may create it with its first document"


def test_redis_that_forgets(doctor: Doctor, redis: Any) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    redis.config_set("appendonly", "no")
    redis.config_set("maxmemory", 0)
    found = doctor()
    levels = {name: finding["level"] for name, finding in found.items()}
    assert levels == {"eviction": "danger", "append-only-file": "danger", "redis-memory-limit": "warning"}
    for finding in found.values():
        mended(redis, finding)
    redis.config_set("appendfsync", "no")
    finding = doctor()["appendfsync"]
    assert finding["level"] == "warning"
    mended(redis, finding)
    assert doctor() == {}


def test_redis_that_is_nearly_full(doctor: Doctor, redis: Any) -> None:
    redis.setrange("ballast", 16 * 1024**2, "x")  # beside which the buffers of connections do not count
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] * 1.02))
    assert doctor.levels() == {"redis-memory": "warning"}


def test_redis_that_is_a_replica(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"replicaof": "127.0.0.1 9", "maxmemory": "1gb", "replica-serve-stale-data": "yes"}
    with RedisServer(tmp_path / "replica", options=options) as replica:
        monkeypatch.setenv("REDIS_URL", replica.url)
        assert doctor.levels() == {"redis-replica": "danger"}


def test_versions(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongodb, "TRIED", (99, 0))
    monkeypatch.setattr(redis_checks, "LEAST", (99, 0))
    assert doctor.levels() == {"redis-version": "danger", "mongodb-version": "warning"}
    monkeypatch.setattr(mongodb, "LEAST", (99, 0))
    assert doctor.levels() == {"mongodb-version": "danger", "redis-version": "danger"}


def test_what_the_address_of_mongodb_asks_for(doctor: Doctor, mongod: Mongod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URI", f"{mongod.uri}&w=1&journal=false&readPreference=nearest&retryWrites=false")
    found = doctor.levels()
    assert found == {"write-concern": "danger", "read-preference": "warning", "retry-writes": "advice"}
    monkeypatch.setenv("MONGODB_URI", f"{mongod.uri}&w=majority&readPreference=primary")
    assert doctor() == {}


def test_connections_that_leave_the_machine(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_is_here", lambda _: False)
    levels = dict.fromkeys(("tls", "mongodb-without-user", "redis-without-user"), "warning")
    assert doctor.levels() == levels


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.1", True), ("[::1]", True), ("redis", False), ("10.0.0.5", False)],
)
def test_what_leaves_the_machine(host: str, here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(monkeypatch, f"redis://user:p@ss@{host}:6379/0")
    assert addresses.is_local(settings, "Redis") is here
    assert "p@ss" not in "".join(addresses.hosts(settings, "Redis"))


@pytest.mark.parametrize(
    ("url", "named"),
    [("redis://redis:6379/0", True), ("redis://:p@redis:6379/0", False), ("redis://redis:6379/0?password=p", False)],
)
async def test_redis_without_a_password(url: str, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    at: Any = SimpleNamespace(settings=load_settings(monkeypatch, url))
    assert bool(await redis_checks.authentication(at)) is named


async def test_certificates_that_nobody_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(monkeypatch, "rediss://redis:6379/0?ssl_cert_reqs=none")
    at: Any = SimpleNamespace(settings=settings)
    assert [finding.check for finding in await addresses.encryption(at)] == ["certificates"]


def load_settings(monkeypatch: pytest.MonkeyPatch, url: str) -> Any:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    return load(OutboxSettings, redis_url=url)


def test_a_retention_of_hours(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOX_RETENTION_DAYS", "0.25")
    assert doctor()["retention"]["what"] == "messages that are done are kept for 6 hours"


def test_a_disk_that_is_nearly_full(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongodb, "FULL", 0.0)
    assert doctor.levels() == {"disk": "warning"}


def test_clocks(doctor: Doctor, outbox: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "time", SimpleNamespace(time=lambda: time.time() + 3600))
    found = [each for each in outbox("doctor", "--json").json["findings"] if each["check"] == "clock"]
    assert [each["level"] for each in found] == ["warning", "warning"]
    assert "the clock of MongoDB is 3,600 s behind this machine's" in found[0]["what"]
    monkeypatch.setattr(clocks, "time", SimpleNamespace(time=lambda: time.time() - 3600))
    assert "ahead of" in doctor()["clock"]["what"]


# -- servers that are away, or refuse


def test_a_server_that_is_away_is_a_finding_and_the_other_is_looked_at(
    doctor: Doctor, outbox: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
        patch.setenv("OUTBOX_RETENTION_DAYS", "0.5")
        result = outbox("doctor", "--json")
        assert result.code == 3
        assert {"unreachable", "retention"} <= {each["check"] for each in result.json["findings"]}
    monkeypatch.setattr("outbox.cli.servers.SECONDS", 0.2)
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:9/?directConnection=true")
    result = outbox("doctor")
    assert result.code == 3
    assert "MongoDB at mongodb://127.0.0.1:9 cannot be reached" in result.err


def test_a_password_that_is_refused_is_one_finding(
    doctor: Doctor, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url.replace("//", "//nobody:s3cr3t@"))
    found = doctor()
    assert list(found) == ["refused"]
    assert "s3cr3t" not in str(found)


def test_each_finding_has_its_section() -> None:
    named = {name for path in FOLDER.glob("*.py") for name in re.findall(r'Finding\(\s*"([a-z-]+)"', path.read_text())}
    named |= {"unreachable", "refused", "declaration", *VERIFIED}
    assert len(named) > 30
    assert named - anchors(PAGES["docs/going-live.md"]) == set()


def test_a_program_that_there_is_not(outbox: Cli) -> None:
    assert outbox("doctor", "--program", "nobody").code == 2
