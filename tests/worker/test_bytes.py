"""Redis holds bytes, and others write them: what is not UTF-8 stops neither a worker nor the good entries beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from outbox.protocol.checkpoint import read_sent
from outbox.worker import Message
from outbox.worker.rescue import Rescue
from tests.waiting import eventually
from tests.worker.workshop import Workshop

ODD: dict[Any, Any] = {b"\xff\xfe": b"\x00\xc3\x28"}
"""Neither its name nor its value is UTF-8."""


async def parse(message: Message, session: Any) -> None:
    files = session.client[parse.database].files  # type: ignore[attr-defined]
    await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)


async def test_an_entry_that_cannot_be_a_message_is_acknowledged_and_named(workshop: Workshop) -> None:
    ids = [*await workshop.publish("a", "b")]
    odd = await workshop.world.redis.xadd(workshop.stream.name, ODD)
    ids += await workshop.publish("c")
    parse.database = workshop.settings.mongodb_database  # type: ignore[attr-defined]
    with capture_logs() as logs:
        async with workshop.working(parse):
            await eventually(lambda: workshop.in_state("completed", *ids))
            await eventually(workshop.all_acknowledged)
    (named,) = [line for line in logs if line.get("entry") == odd]
    assert named["log_level"] == "warning"
    assert "UTF-8" in named["error"]


async def test_good_entries_that_a_dead_worker_held_with_it_are_taken_over(workshop: Workshop) -> None:
    ids = await workshop.publish("a", "b")
    await workshop.world.redis.xadd(workshop.stream.name, ODD)
    ids += await workshop.publish("c")
    dead: Any = b"outbox:gone-\xff"
    await workshop.world.redis.xreadgroup(workshop.stream.group, dead, {workshop.stream.name: ">"}, count=100)
    parse.database = workshop.settings.mongodb_database  # type: ignore[attr-defined]
    async with workshop.working(parse, silent_seconds=0.3):
        await eventually(lambda: workshop.in_state("completed", *ids))
        await eventually(workshop.all_acknowledged)


async def test_a_group_and_a_consumer_of_others_keep_their_names(workshop: Workshop, redis: Redis) -> None:
    """What is asked of Redis about them arrives under the same bytes, or it would be about somebody else."""
    (id_,) = await workshop.publish("a")
    group: Any = b"theirs-\xff"
    consumer: Any = b"worker-\xc3\x28"
    await redis.xgroup_create(workshop.stream.name, group, "0")
    await redis.xreadgroup(group, consumer, {workshop.stream.name: ">"})
    parse.database = workshop.settings.mongodb_database  # type: ignore[attr-defined]
    async with workshop.working(parse):
        await eventually(lambda: workshop.in_state("completed", id_))
    found = await redis.xinfo_consumers(workshop.stream.name, group)
    assert [(one["name"].encode(errors="surrogateescape"), one["pending"]) for one in found] == [(consumer, 1)]


@pytest.mark.parametrize(
    "attempt",
    ["9" * 400, "9" * 5000, f"{2**63}", "2147483648", "²", "٣", "１", "-1", "+1", "0", "01", " 1", "1_0", ""],
)
def test_an_attempt_that_no_relay_writes_stands_for_nothing(attempt: str) -> None:
    assert read_sent("507f1f77bcf86cd799439011", attempt) is None
    assert read_sent("507f1f77bcf86cd799439011", "2147483647") is not None


@pytest.mark.parametrize(
    "id_",
    ["", "507f1f77bcf86cd79943901", "507f1f77bcf86cd79943901\n", "507F1F77BCF86CD799439011", "q" * 12, "\udcff" * 24],
)
def test_an_id_that_no_relay_writes_stands_for_nothing(id_: str) -> None:
    assert read_sent(id_, "1") is None


async def test_a_relay_that_searches_the_stream_passes_over_odd_entries(workshop: Workshop) -> None:
    (id_,) = await workshop.publish("a")
    redis, name = workshop.world.redis, workshop.stream.name
    await redis.xadd(name, ODD)
    await redis.xadd(name, {"message_id": str(id_), "attempt": "9" * 30})
    await redis.delete(workshop.stream.checkpoint_key(0))
    reconciled = (await (await workshop.world.owner("b")).drain()).reconciled
    assert reconciled
    assert (reconciled.kept, reconciled.recovered) == (1, 0)


@pytest.mark.parametrize("name", [b"a\0b", b"\0", b"", b"n" * 200])
async def test_a_name_that_mongodb_does_not_take_is_acknowledged_and_named(workshop: Workshop, name: bytes) -> None:
    (id_,) = await workshop.publish("a")
    fields: dict[Any, Any] = {name: b"value"}
    odd = await workshop.world.redis.xadd(workshop.stream.name, fields)
    parse.database = workshop.settings.mongodb_database  # type: ignore[attr-defined]
    with capture_logs() as logs:
        async with workshop.working(parse):
            await eventually(lambda: workshop.in_state("completed", id_))
            await eventually(workshop.all_acknowledged)
    assert [line["log_level"] for line in logs if line.get("entry") == odd] == ["warning"]


async def test_what_a_dead_worker_held_and_can_be_no_message_is_acknowledged_named_and_kept(workshop: Workshop) -> None:
    (id_,) = await workshop.publish("a")
    redis, stream = workshop.world.redis, replace(workshop.stream, rescue_seconds=0.001)
    odd = await redis.xadd(stream.name, ODD)
    worker: Any = b"worker-\xff"
    await redis.xreadgroup(stream.group, worker, {stream.name: ">"})
    with capture_logs() as logs:

        async def rescued() -> bool:
            return bool((await Rescue(workshop.world.database, redis).abandoned(stream)).rescued)

        await eventually(rescued)
    assert [line["log_level"] for line in logs if line.get("entry") == odd] == ["warning"]
    assert await workshop.unacknowledged() == 0
    assert [entry for entry, _ in await workshop.world.stream()] == [odd]
    assert await workshop.in_state("pending", id_)
