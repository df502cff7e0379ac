"""Two outboxes meet at one stream in one Redis: it belongs to the first, and the second leaves all of it alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import Document
from outbox.delivery.trim import trim
from outbox.embedded import ports
from outbox.errors import ForeignStream
from outbox.message import meta
from outbox.operations import stats
from outbox.operations.verify import System, verify
from outbox.protocol.checkpoint import Opened
from outbox.protocol.leases import Progress
from outbox.protocol.ownership import Ownership, owner
from outbox.protocol.tags import new_tag
from outbox.streams import registry
from outbox.streams.declaration import Stream
from outbox.streams.keys import record_key
from outbox.worker.rescue import Rescue
from outbox_relay.drained import Outcome
from tests.cli.conftest import Cli, bare, cli  # noqa: F401  # fixtures
from tests.outbox.ward import SOON, Ward
from tests.relay.processes import a_relay
from tests.relay.test_start_and_stop import answers
from tests.relay.world import PARTITION, STREAM, World, a_world
from tests.waiting import eventually

RECORD = record_key(STREAM.name)
BARE = replace(STREAM, subject=None)
_STREAMS = '[{"name": "file_parsing_queue", "group": "file_parsers", "partitions": 1, "subject": {}}]'


@pytest.fixture
async def other(mongo: AsyncMongoClient[Document], redis: Redis) -> AsyncIterator[World]:
    """Another outbox, in a database of its own, that declares the same stream in the same Redis."""
    name = f"test_{uuid4().hex[:12]}"
    async with a_world(mongo, name, redis) as made:
        yield made
    await mongo.drop_database(name)


async def test_the_first_relay_to_open_a_stream_puts_its_outbox_on_record(world: World) -> None:
    assert await owner(world.redis, STREAM) is None
    await (await world.owner()).drain_all()
    found = await owner(world.redis, STREAM)
    assert found == world.ours
    assert found.identity == await meta.identity(world.database)
    assert found.database == world.database.name
    assert re.fullmatch(r"127\.0\.0\.1:\d+", found.hosts)


async def test_a_second_outbox_publishes_nothing_says_why_and_loses_nothing(world: World, other: World) -> None:
    first, second = await world.owner(), await other.owner()
    await world.append("a")
    await first.drain_all()
    before = await world.remember()
    ids = await other.append("b", "c")

    with pytest.raises(ForeignStream) as refused:
        await second.drain()

    for told in (world.ours.identity, other.ours.identity, world.database.name, other.database.name, "--adopt-streams"):
        assert told in str(refused.value)
    assert await world.remember() == before
    assert await other.states() == dict.fromkeys(ids, "pending")
    await world.append("d")
    assert await first.drain_all() == 1


Deed = Callable[[World], Awaitable[Any]]


@pytest.mark.parametrize(
    "deed",
    [
        lambda world: trim(world.database, world.redis, STREAM),
        lambda world: trim(world.database, world.redis, BARE),
        lambda world: Rescue(world.database, world.redis).abandoned(SOON),
        lambda world: Rescue(world.database, world.redis).vanished(SOON, PARTITION),
        lambda world: world.checkpoints.look(PARTITION, 10**6),
    ],
    ids=["trim", "judge", "rescue", "look for what vanished", "open under a higher token"],
)
async def test_nothing_of_another_outbox_is_changed(world: World, other: World, deed: Deed) -> None:
    first = await world.owner()
    await world.append("a", "b")
    await first.drain_all()
    [given, _] = await Ward(world, first).read()
    await world.redis.xack(STREAM.name, STREAM.group, given)
    before = await world.remember()
    with pytest.raises(ForeignStream):
        await deed(other)
    assert await world.remember() == before


@pytest.mark.parametrize("script", ["publish", "scan", "stamp"])
async def test_whoever_opened_a_stream_before_it_was_taken_over_does_nothing_more(
    world: World, other: World, script: str
) -> None:
    first = await world.owner()
    await world.append("a")
    await first.drain_all()
    token, checkpoints = first.lease.token, world.checkpoints
    opened = await checkpoints.open(PARTITION, token)
    assert isinstance(opened, Opened)
    await Ownership(other.redis, other.ours).take_over(STREAM)
    before = await world.remember()
    after = Progress(opened.at.batch + 1, new_tag())
    deeds: dict[str, Callable[[], Awaitable[Any]]] = {
        "publish": lambda: checkpoints.publish(PARTITION, token, after, [], after=opened.at.tag),
        "scan": lambda: anext(aiter(checkpoints.scan(PARTITION, token, opened))),
        "stamp": lambda: checkpoints.stamp(PARTITION, token, after, opened),
    }
    with pytest.raises(ForeignStream):
        await deeds[script]()
    assert await world.remember() == before


async def test_a_stream_of_the_version_before_names_nobody_until_it_is_opened(world: World) -> None:
    first = await world.owner()
    await world.append("a")
    await first.drain_all()
    await forget_whose(world.redis)
    await world.append("b")
    assert (await first.drain()).outcome is Outcome.REFUSED
    assert await first.drain_all() == 1
    assert await owner(world.redis, STREAM) == world.ours
    ids = await world.published_ids()
    assert len(ids) == len(set(ids)) == 2


async def test_an_operator_takes_a_stream_over(
    world: World,
    other: World,
    bare: Cli,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = await world.owner(), await other.owner()
    await world.append("a")
    await first.drain_all()
    await other.append("b")
    monkeypatch.setenv("MONGODB_DATABASE", other.database.name)
    monkeypatch.setenv("REDIS_URL", url_of(world.redis))
    monkeypatch.setenv("OUTBOX_STREAMS", _STREAMS)

    done = await asyncio.to_thread(bare, "init", "--adopt-streams", "--json")

    assert done.json["done"] == [f"took over stream {STREAM.name} from {world.ours}"]
    assert await other.database.outbox_audit.count_documents({"action": "adopt-stream"}) == 1
    assert (await asyncio.to_thread(bare, "init", "--adopt-streams", "--json")).json["done"] == []
    assert await second.drain_all() == 1
    [waiting] = await world.append("c")
    with pytest.raises(ForeignStream):
        await first.drain()
    assert (await world.states())[waiting] == "pending"
    assert [entry["file_id"] for entry in await world.entries()] == ["a", "b"]


@pytest.mark.parametrize("known", ["the outbox", "a stream that is not registered yet", "nothing"])
async def test_a_dry_run_says_what_would_be_taken_over_and_changes_nothing(
    world: World,
    other: World,
    bare: Cli,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    known: str,
) -> None:
    """Of a stream that is registered here; of one that is only declared; where `outbox init` was never run."""
    await world.append("a")
    await (await world.owner()).drain_all()
    if known == "a stream that is not registered yet":
        await other.database.outbox_streams.delete_many({})
        await registry.register(other.database, [Stream("exports", "exporters")])
    elif known == "nothing":
        await other.client.drop_database(other.database.name)
    monkeypatch.setenv("MONGODB_DATABASE", other.database.name)
    monkeypatch.setenv("REDIS_URL", url_of(world.redis))
    monkeypatch.setenv("OUTBOX_STREAMS", _STREAMS)
    before = await world.remember(), await everything(other)
    line = f"taken over stream {STREAM.name} from {world.ours}"

    shown = await asyncio.to_thread(bare, "init", "--adopt-streams", "--dry-run")

    assert (shown.code, f"would have {line}\n" in shown.out, "nothing was changed" in shown.out) == (0, True, True)
    planned = (await asyncio.to_thread(bare, "init", "--adopt-streams", "--dry-run", "--json")).json
    assert ([each for each in planned["planned"] if "taken over" in each], planned["done"]) == ([line], [])
    assert (await world.remember(), await everything(other)) == before
    done = (await asyncio.to_thread(bare, "init", "--adopt-streams", "--json")).json["done"]
    assert f"took over stream {STREAM.name} from {world.ours}" in done
    shown = await asyncio.to_thread(bare, "init", "--adopt-streams", "--dry-run")
    assert (shown.code, "taken over" in shown.out) == (0, False)


async def test_a_dry_run_looks_where_the_prefix_that_is_declared_leads(
    world: World,
    other: World,
    bare: Cli,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`outbox init` would add it to what is registered, and the streams without it stay with the other outbox."""
    await (await world.owner()).drain_all()
    theirs = replace(world.ours, identity="f" * 32)
    record = {"outbox": theirs.identity, "database": theirs.database, "hosts": theirs.hosts}
    commands: Any = world.redis
    await commands.hset(record_key(f"staging:{STREAM.name}"), mapping=record)
    for name, value in {**environment_of(other, ""), "OUTBOX_REDIS_PREFIX": "staging:"}.items():
        if value:
            monkeypatch.setenv(name, value)
    planned = (await asyncio.to_thread(bare, "init", "--adopt-streams", "--dry-run", "--json")).json["planned"]
    assert [each for each in planned if "taken over" in each] == [f"taken over stream {STREAM.name} from {theirs}"]


async def everything(world: World) -> dict[str, list[Document]]:
    names = sorted(await world.database.list_collection_names())
    return {name: await world.database[name].find().to_list() for name in names}


# -- what is said


async def test_status_verify_and_readiness_name_both(
    world: World, other: World, mongodb_uri: str, redis_url: str, tmp_path: Path
) -> None:
    await (await world.owner()).drain_all()
    await other.database.outbox_partitions.update_many({}, {"$set": {"owner": None}})
    [waiting] = await other.append("b")
    environment = environment_of(other, mongodb_uri)
    port = ports.pick("127.0.0.1")
    with a_relay(tmp_path / "relay.log", environment, "--port", str(port)) as relay:
        await eventually(lambda: relay.told("stream belongs to another outbox"), 20)

        async def says_why() -> (
            bool
        ):  # not while it takes its leases anew, after it stood still for longer than they last
            waiting_for = (await answers(port, "/readyz", 503))["waiting_for"]
            return any(names_both(reason, world, other) for reason in waiting_for)

        await eventually(says_why)
        assert await answers(port, "/healthz", 200)
        assert await asyncio.to_thread(relay.stop) == 0
    assert relay.text().count("stream belongs to another outbox") == 1
    assert not relay.told("Traceback")
    assert await other.states() == {waiting: "pending"}
    assert not await world.stream()
    queue = await stats.queue(other.redis, other.streams, other.ours)
    assert names_both(str(queue.cause), world, other)
    status = await stats.collect(other.database, other.redis, other.streams)
    assert names_both(str(status.as_json()["redis"]["error"]), world, other)
    assert (await stats.collect(world.database, world.redis, world.streams)).queue.cause is None
    system = System(other.database, other.redis, other.streams, datetime.now(UTC), timedelta(days=7))
    findings = await verify(system)
    assert [finding.check for finding in findings if names_both(finding.what, world, other)] == ["foreign-stream"]


async def test_a_relay_that_runs_once_ends(world: World, other: World, mongodb_uri: str, tmp_path: Path) -> None:
    await (await world.owner()).drain_all()
    await other.append("b")
    with a_relay(tmp_path / "relay.log", environment_of(other, mongodb_uri), "--once") as relay:
        assert await asyncio.to_thread(relay.wait) == 2
    assert names_both(relay.text(), world, other)


def names_both(text: str, world: World, other: World) -> bool:
    names = (world.ours.identity, other.ours.identity, world.database.name, other.database.name, STREAM.name)
    return all(name in text for name in names)


def environment_of(world: World, mongodb_uri: str) -> dict[str, str]:
    return {
        "MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": world.database.name, "REDIS_URL": url_of(world.redis),
        "OUTBOX_STREAMS": _STREAMS,
    }  # fmt: skip


def url_of(redis: Redis) -> str:
    address = redis.connection_pool.connection_kwargs
    return f"redis://{address['host']}:{address['port']}/0"


async def forget_whose(redis: Redis) -> None:
    await redis.hdel(RECORD, "outbox", "database", "hosts", "since")
