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
FORMAT = "docs/wire-format.md"
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


def program(folder: Path, name: str, page: str, number: int = 0) -> Path:
    """A program of a page, saved as a reader would."""
    path = folder / name
    path.write_text(code(PAGES[page], {".py": "python", ".mjs": "js"}.get(path.suffix, path.suffix[1:]))[number])
    return path


def tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if not found:
        assert not os.environ.get("TESTS_SKIP_NOTHING"), f"{name} must be here: apt-get install {package}"
        pytest.skip(f"no {name} on this machine")
    return found


async def test_a_loop_of_redis_py(world: World, redis_url: str, tmp_path: Path) -> None:
    worker = program(tmp_path, "worker.py", FORMAT, 0)
    await all_are_read_and_acknowledged(world, [sys.executable, str(worker)], redis_url, tmp_path)


async def test_a_faststream_application(world: World, redis_url: str, tmp_path: Path) -> None:
    worker = program(tmp_path, "worker.py", FORMAT, 1)
    await all_are_read_and_acknowledged(world, [sys.executable, str(worker)], redis_url, tmp_path)


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
    node, npm = tool("node", "npm"), tool("npm", "npm")
    worker = program(tmp_path, "worker.mjs", "docs/node.md")
    (install,) = code(PAGES["docs/node.md"], "sh")
    subprocess.run(
        [npm, *install.split()[1:], "--prefix", str(tmp_path), "--no-audit", "--no-fund", "--prefer-offline"],
        check=True, timeout=90, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    await all_are_read_and_acknowledged(world, [node, str(worker)], redis_url, tmp_path)


async def test_a_program_of_redigo(world: World, redis_url: str, tmp_path: Path) -> None:
    """Built against Debian's package of redigo, in the way of before Go had modules."""
    go, worker = tool("go", "golang-go"), tmp_path / "worker"
    paths = {"GOPATH": "/usr/share/gocode", "GO111MODULE": "off", "GOCACHE": str(tmp_path / "cache")}
    if not (Path(paths["GOPATH"]) / "src/github.com/gomodule/redigo").exists():
        tool("redigo", "golang-github-gomodule-redigo-dev")
    source = program(tmp_path, "main.go", "docs/go.md")
    build = [go, "build", "-o", str(worker), str(source)]
    subprocess.run(build, env={**os.environ, **paths}, check=True, timeout=110)
    await all_are_read_and_acknowledged(world, [str(worker)], redis_url, tmp_path)


def test_a_program_of_jedis_can_be_compiled(tmp_path: Path) -> None:
    """Against the signatures that it uses, in `jedis/`: Maven's packages cannot be had here."""
    javac = tool("javac", "default-jdk-headless")
    source = program(tmp_path, "Worker.java", "docs/java.md")
    signatures = sorted((HERE / "jedis").rglob("*.java"))
    subprocess.run([javac, "-Xlint:all", "-Werror", "-d", tmp_path, source, *signatures], check=True, timeout=110)
