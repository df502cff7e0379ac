"""Files that the system before the outbox has left waiting get a message each, whatever happens to the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from redis import Redis

from outbox.embedded import RedisServer
from outbox.message.document import State
from outbox_api.uploads.migration import PAGE, Migration
from tests.cli.conftest import Cli, Shelf
from tests.waiting import eventually_sync

pytestmark = pytest.mark.usefixtures("with_files")

STREAM, GROUP = "file_parsing_queue", "file_parsers"


def legacy(shelf: Shelf, parsing: str, count: int) -> list[ObjectId]:
    """Records as the old system has them: without a version, and without much else."""
    records: list[dict[str, Any]] = [
        {"filename": f"{n}.pdf", "folder_id": "old", "parsing": parsing} for n in range(count)
    ]
    return list(shelf.db.files.insert_many(records).inserted_ids)


def messages(shelf: Shelf) -> Counter[str]:
    return Counter(message["key"] for message in shelf.db.outbox.find({}, {"key": 1}))


def test_what_waits_gets_a_message_and_what_is_taken_care_of_does_not(outbox: Cli, shelf: Shelf) -> None:
    fallback, lost = legacy(shelf, "parsing start", 3), legacy(shelf, "queued", 2)
    known, parsed = legacy(shelf, "queued", 1), legacy(shelf, "parsed", 1)
    shelf.put(State.PUBLISHED, key=str(known[0]))
    told = {"parsing_start": 3, "queued_without_message": 2, "queued_in_stream": 0}

    counted = outbox("migrate", "--dry-run", "--json")
    assert counted.json == told | {"migrated": 0, "dry_run": True}
    assert shelf.db.outbox.count_documents({}) == 1

    assert outbox("migrate", "--json").json == told | {"migrated": 5, "dry_run": False}
    assert messages(shelf) == Counter(str(file) for file in (*fallback, *lost, *known))
    assert shelf.db.files.count_documents({"parsing": "parsing start"}) == 0
    message = shelf.db.outbox.find_one({"key": str(fallback[0])})
    record = shelf.db.files.find_one({"_id": fallback[0]})
    assert message
    assert record
    assert message["fields"] == {"file_id": str(fallback[0]), "filename": "0.pdf", "folder_id": "old"}
    assert (message["state"], message["stream"]) == ("pending", STREAM)
    assert (record["parsing"], record["version"], record["message_id"]) == ("queued", 1, message["_id"])
    assert shelf.db.files.find_one({"_id": parsed[0]}) == {
        "_id": parsed[0], "filename": "0.pdf", "folder_id": "old", "parsing": "parsed",
    }  # fmt: skip
    (_, record_of_it) = shelf.db.outbox_audit.find({"action": "migrate"}).sort("_id")
    assert (record_of_it["count"], record_of_it["details"]) == (3, {"from": "parsing start"})

    again = outbox("migrate")
    assert again.code == 0
    assert "0 have a message now" in again.out
    assert len(messages(shelf)) == shelf.db.outbox.count_documents({}) == 6


def test_what_an_old_entry_still_speaks_of_is_left_to_the_workers(
    outbox: Cli, shelf: Shelf, redis_server: RedisServer
) -> None:
    """Also what is in a worker's hands. What was acknowledged and left `queued` is lost."""
    done, held, waits = legacy(shelf, "queued", 3)
    with redis_server.client() as redis:
        redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        for file in (held, done):
            redis.xadd(STREAM, {"file_id": str(file)})
        _read_and_acknowledge(redis, str(done))
        redis.xadd(STREAM, {"file_id": str(waits), "filename": "x"})
    result = outbox("migrate", "--json").json
    assert (result["queued_in_stream"], result["migrated"]) == (2, 1)
    assert messages(shelf) == Counter([str(done)])


def test_a_file_of_the_fallback_whose_entry_redis_took_is_left_to_the_workers(
    outbox: Cli, shelf: Shelf, redis_server: RedisServer
) -> None:
    """The old API wrote `parsing start` when no reply came."""
    waits, lost = legacy(shelf, "parsing start", 2)
    with redis_server.client() as redis:
        redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        redis.xadd(STREAM, {"file_id": str(waits)})
    result = outbox("migrate", "--json").json
    assert (result["parsing_start"], result["queued_in_stream"], result["migrated"]) == (1, 1, 1)
    assert messages(shelf) == Counter([str(lost)])
    # A message that its entry becomes counts as settled unless its file is queued.
    assert [file["parsing"] for file in shelf.db.files.find()] == ["queued", "queued"]
    again = outbox("migrate", "--json").json
    assert (again["parsing_start"], again["queued_in_stream"], again["migrated"]) == (0, 1, 0)


def _read_and_acknowledge(redis: Redis, file: str) -> None:
    found: Any = redis.xreadgroup(GROUP, "old worker", {STREAM: ">"})
    for _, entries in found:
        redis.xack(STREAM, GROUP, *(entry for entry, fields in entries if fields.get("file_id") == file))


def test_old_entries_of_a_stream_without_its_group_still_wait(
    outbox: Cli, shelf: Shelf, redis_server: RedisServer
) -> None:
    (file,) = legacy(shelf, "queued", 1)
    with redis_server.client() as redis:
        redis.xadd(STREAM, {"file_id": str(file)})
    assert outbox("migrate", "--json").json["queued_in_stream"] == 1


def test_what_another_run_did_meanwhile_is_not_done_again(
    outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there yet when this run looked for it."""
    known, lost = legacy(shelf, "queued", 2)
    shelf.put(State.PENDING, key=str(known))
    silent = Migration._silent

    async def earlier(migration: Migration, files: Any, session: Any = None) -> list[Any]:
        return await silent(migration, files, session) if session else list(files)

    monkeypatch.setattr(Migration, "_silent", earlier)
    assert outbox("migrate", "--json").json["migrated"] == 1
    assert messages(shelf) == Counter([str(known), str(lost)])


def test_an_old_backlog_can_be_of_low_priority(outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    legacy(shelf, "parsing start", 1)
    assert outbox("migrate", "--priority", "low").code == 2
    declared = f'[{{"name": "{STREAM}", "group": "{GROUP}", "subject": {{}}, "priorities": ["low"]}}]'
    monkeypatch.setenv("OUTBOX_STREAMS", declared)
    outbox("init")
    assert outbox("migrate", "--priority", "low").code == 0
    assert [message["stream"] for message in shelf.db.outbox.find()] == [f"{STREAM}:low"]


def test_without_redis_nothing_is_judged(outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    legacy(shelf, "queued", 1)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    assert outbox("migrate").code == 3
    assert messages(shelf) == Counter()


@pytest.fixture
def _impatient(shelf: Shelf) -> Iterator[None]:
    """A mongod that gives up a dead program's transaction after three seconds, not a minute."""
    setting = "transactionLifetimeLimitSeconds"
    admin = shelf.db.client.admin
    before = admin.command({"getParameter": 1, setting: 1})[setting]
    admin.command({"setParameter": 1, setting: 3})
    yield
    admin.command({"setParameter": 1, setting: before})


HANGS = """
import pathlib, sys, time
from outbox.cli import main
from outbox_api.uploads import migration

place, name, page = getattr(migration, sys.argv[1]), sys.argv[2], int(sys.argv[3])
inner, pages = getattr(place, name), 0

async def then_hangs(*arguments, **options):
    global pages
    done = await inner(*arguments, **options)
    pages += 1
    if pages == page:
        pathlib.Path("here").touch()
        time.sleep(3600)
    return done

setattr(place, name, then_hangs)
main(["migrate"])
"""
"""`outbox migrate`, which comes so far and waits to be killed: it would be done before somebody late does it."""
MOMENTS = [("audit", "record"), ("Migration", "_migrate")]
"""All of a page is written and not committed; and it is committed."""


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_killed_half_way_and_run_again_each_file_has_one_message(count: int, outbox: Cli, shelf: Shelf) -> None:
    fallback = legacy(shelf, "parsing start", count * 4 // 5)
    lost = legacy(shelf, "queued", count // 5)
    done, here_it_is = 0, Path("here")
    for moment in MOMENTS:
        command = [sys.executable, "-c", HANGS, *moment, str(count // PAGE // 3 + 1)]
        with subprocess.Popen(command, env=os.environ, cwd=os.getcwd()) as process:
            try:
                eventually_sync(here_it_is.exists, 60)
            finally:
                process.send_signal(signal.SIGKILL)
        here_it_is.unlink()
        assert process.returncode == -signal.SIGKILL
        here = messages(shelf)
        assert done < len(here) < count
        assert set(here.values()) == {1}
        # Never the one without the other.
        waiting = {str(file["_id"]) for file in shelf.db.files.find({"parsing": "parsing start"})}
        assert waiting.isdisjoint(here)
        done = len(here)
    rest = outbox("migrate", "--json").json
    assert rest["migrated"] == count - done
    assert messages(shelf) == Counter(str(file) for file in (*fallback, *lost))
    assert {file["parsing"] for file in shelf.db.files.find()} == {"queued"}
