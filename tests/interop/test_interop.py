"""Consumers that our users have already read our entries: the examples here are whole programs, run as they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from structlog.testing import capture_logs

from outbox.database import Document
from outbox.settings import OutboxSettings, load
from outbox.worker import Consumer, Message
from tests.documents import PAGES, code
from tests.relay.world import STREAM, World, a_world
from tests.waiting import eventually
from tests.worker.processes import at_work

HERE = Path(__file__).parent
NODE_CLIENT = "redis@5"
NAMES = ["a.pdf", "naïve 文件 🗂️.pdf", 'quote" back\\slash\nline', "__data__"]


@pytest.fixture
async def world(mongo: AsyncMongoClient[Document], database: str, redis: Redis) -> AsyncIterator[World]:
    async with a_world(mongo, database, redis) as made:
        yield made


@contextmanager
def running(command: list[str], redis_url: str, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "REDIS_URL": redis_url}
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def entries_in(output: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in output.read_text().splitlines() if line.startswith("{")]


async def all_are_read_and_acknowledged(world: World, command: list[str], redis_url: str, folder: Path) -> None:
    """What was there before the worker started, what comes while it runs, and, after kill -9, what it held."""
    output, again = folder / "output", folder / "again"
    owner = await world.owner()

    async def publish(*names: str) -> None:
        for name in names:
            await world.append("f1", filename=name, folder_id="x")
        await owner.drain_all()

    async def acknowledged() -> bool:
        (group,) = await world.redis.xinfo_groups(STREAM.name)
        return (group["pending"], group["lag"]) == (0, 0)

    await publish(*NAMES[:2])
    with running(command, redis_url, output) as worker:
        await eventually(lambda: len(entries_in(output)) == 2, 30, what=f"reading; {output} so far")
        await publish(*NAMES[2:])
        await eventually(lambda: len(entries_in(output)) == 4, 30, what="reading more")
        await eventually(acknowledged)
        assert worker.poll() is None
        (consumer,) = await world.redis.xinfo_consumers(STREAM.name, STREAM.group)
    assert entries_in(output) == await world.entries()
    assert [entry["filename"] for entry in entries_in(output)] == NAMES
    if "faststream" in consumer["name"]:
        return  # it reads new entries only: the relay rescues the rest
    await publish("held")
    await world.redis.xreadgroup(STREAM.group, consumer["name"], {STREAM.name: ">"})
    with running(command, redis_url, again):
        await eventually(lambda: entries_in(again), 30, what="reading what it was given before")
        await eventually(acknowledged)
    assert [entry["filename"] for entry in entries_in(again)] == ["held"]


async def test_a_loop_of_redis_py(world: World, redis_url: str, tmp_path: Path) -> None:
    await all_are_read_and_acknowledged(world, [sys.executable, str(HERE / "plain_redis.py")], redis_url, tmp_path)


async def test_a_faststream_application(world: World, redis_url: str, tmp_path: Path) -> None:
    await all_are_read_and_acknowledged(
        world, [sys.executable, str(HERE / "faststream_worker.py")], redis_url, tmp_path
    )


async def test_what_faststream_publishes_by_default_is_acknowledged_and_named(
    world: World, redis_url: str, mongodb_uri: str, database: str
) -> None:
    """Its one field is not text. What stands beside it is handled, and no relay and no worker ends by it."""
    owner = await world.owner()
    ids = await world.append("f1", "f2")
    await owner.drain_all()
    publisher = [sys.executable, str(HERE / "faststream_publisher.py")]
    subprocess.run(publisher, check=True, timeout=60, env={**os.environ, "REDIS_URL": redis_url})
    ids += await world.append("f3")
    await owner.drain_all()
    (odd,) = [id_ for id_, fields in await world.stream() if "__data__" in fields]

    async def parse(message: Message, session: Any) -> None:
        files = session.client[database].files
        await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

    settings = load(OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url)
    with capture_logs() as logs:
        async with at_work(Consumer(settings, parse)):

            async def all_is_done() -> bool:
                (group,) = await world.redis.xinfo_groups(STREAM.name)
                return not group["pending"] and set((await world.states()).values()) == {"completed"}

            await eventually(all_is_done)
    assert [line["log_level"] for line in logs if line.get("entry") == odd] == ["warning"]
    assert len(await world.states()) == len(ids)


async def test_a_program_of_node_redis(world: World, redis_url: str, tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        assert not os.environ.get("TESTS_SKIP_NOTHING"), "node and npm must be here"
        pytest.skip("no node and npm on this machine")
    program = tmp_path / "node_redis.mjs"
    shutil.copy(HERE / program.name, program)
    subprocess.run(
        [npm, "install", "--prefix", str(tmp_path), "--no-audit", "--no-fund", "--prefer-offline", NODE_CLIENT],
        check=True, timeout=90, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    await all_are_read_and_acknowledged(world, [node, str(program)], redis_url, tmp_path)


def test_the_page_quotes_what_runs_here() -> None:
    program = (HERE / "faststream_worker.py").read_text()
    (quoted,) = [block for block in code(PAGES["docs/wire-format.md"], "python") if "StreamSub" in block]
    assert quoted in program
