"""A message that others left no room for a change while a worker has it: it dies with its file, and stops no worker."""

from __future__ import annotations

import asyncio

import pytest
from bson import ObjectId

from outbox.database import OUTBOX
from outbox.delivery.entries import OURS
from outbox.message.poison import TOO_FULL
from outbox.worker import GiveUp, Message, Snooze
from tests.giants import fill_up
from tests.waiting import eventually
from tests.worker.parser import Parser
from tests.worker.workshop import Workshop


async def is_told(workshop: Workshop, id_: ObjectId, why: str) -> None:
    """It is dead, and its file says so; the worker holds its entry no more."""
    await eventually(lambda: workshop.in_state("dead", id_))
    await eventually(workshop.all_acknowledged)
    reason = (await workshop.message(id_))["last_error"]
    assert TOO_FULL in reason
    assert why in reason
    parsing = await workshop.parsing("a")
    assert parsing.startswith(f"error: {TOO_FULL}")
    assert why in parsing


@pytest.mark.parametrize("error", [ValueError("no luck"), Snooze(9, "no luck"), GiveUp("no luck")], ids=repr)
async def test_one_that_fails(workshop: Workshop, error: Exception) -> None:
    async def fails(message: Message) -> None:
        await fill_up(workshop.world.database[OUTBOX], message.id)
        raise error

    [id_] = await workshop.publish("a")
    async with workshop.working(fails):
        await is_told(workshop, id_, "no luck")


async def test_one_that_cannot_be_completed(workshop: Workshop, parser: Parser) -> None:
    [id_] = await workshop.publish("a")
    await fill_up(workshop.world.database[OUTBOX], id_)
    async with workshop.working(parser):
        await is_told(workshop, id_, "larger than")
    assert await parser.effects() == []


async def test_one_whose_worker_died(workshop: Workshop, parser: Parser) -> None:
    stream = workshop.stream
    [id_] = await workshop.publish("a")
    await fill_up(workshop.world.database[OUTBOX], id_)
    await workshop.world.redis.xreadgroup(stream.group, f"{OURS}dead", {stream.name: ">"})
    async with workshop.working(parser, silent_seconds=0.3):
        await is_told(workshop, id_, f"{OURS}dead")
    assert not parser.messages


async def test_one_that_killed_its_workers(workshop: Workshop, parser: Parser) -> None:
    messages, stream = workshop.world.database[OUTBOX], workshop.stream
    [id_] = await workshop.publish("a")
    await messages.update_one({"_id": id_}, {"$set": {"taken_over": 4, "taken_from": [f"{OURS}one"]}})
    await fill_up(messages, id_)
    await workshop.world.redis.xreadgroup(stream.group, f"{OURS}dead", {stream.name: ">"})
    async with workshop.working(parser, silent_seconds=0.3):
        await is_told(workshop, id_, "given up after 5 tries")
    assert not parser.messages


async def test_one_that_is_given_back(workshop: Workshop, parser: Parser) -> None:
    [id_] = await workshop.publish("a")
    parser.work = asyncio.Event()
    async with workshop.working(parser, stop_seconds=0.1) as consumer:
        await eventually(lambda: parser.messages)
        messages = workshop.world.database[OUTBOX]
        await messages.update_one({"_id": id_}, {"$unset": {"entries": ""}})  # whose room it would be given back in
        await fill_up(messages, id_)
        consumer.stop()
        await is_told(workshop, id_, "given back")
