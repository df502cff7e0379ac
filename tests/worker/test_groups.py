"""One append reaches several groups, each of which handles every message once, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient, MongoClient
from redis.asyncio import Redis

from outbox import Draft, Outbox
from outbox.database import Database, Document
from outbox.errors import SettingsError, UndeclaredGroup
from outbox.message import schema
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Priority, Stream, Streams, Subject
from outbox.worker import Consumer, GiveUp, Message
from tests.relay.processes import a_relay
from tests.waiting import eventually
from tests.worker.processes import WorkerProcess, at_work, running

GROUPS = ("billing", "mail", "stock")
ORDERS = Stream("orders", "billing", partitions=2, groups=("mail", "stock"))
DECLARED = [{"name": "orders", "groups": GROUPS, "partitions": 2}]


@pytest.fixture
async def settings(
    mongo: AsyncMongoClient[Document], mongodb_uri: str, database: str, redis_url: str
) -> OutboxSettings:
    found = load(
        OutboxSettings, mongodb_uri=mongodb_uri, mongodb_database=database, redis_url=redis_url, outbox_streams=DECLARED
    )
    await schema.ensure(Database(mongo, database), found.streams)
    return found


def _environment(settings: OutboxSettings) -> dict[str, str]:
    return {
        "MONGODB_URI": settings.mongodb_uri.get_secret_value(), "MONGODB_DATABASE": settings.mongodb_database,
        "REDIS_URL": settings.redis_dsn, "OUTBOX_STREAMS": json.dumps(DECLARED),
    }  # fmt: skip


class Shop:
    """Appends orders, and knows what each group has made of them."""

    def __init__(self, client: AsyncMongoClient[Document], settings: OutboxSettings) -> None:
        self.database = client[settings.mongodb_database]
        self.outbox = Outbox(settings.streams, database=settings.mongodb_database)
        self._settings = settings

    async def order(self, count: int) -> None:
        async with self.database.client.start_session() as session, await session.start_transaction():
            drafts = [Draft({"order": str(n)}, str(n)) for n in range(count)]
            assert len(await self.outbox.append_many(session, "orders", drafts)) == count

    def worker(self, group: str) -> Consumer:
        async def handle(message: Message, session: Any) -> None:
            if group == "stock" and message.fields["order"] == "0":
                raise GiveUp("sold out")
            effect = {"group": group, "message": message.id}
            await session.client[self.database.name].effects.insert_one(effect, session=session)

        return Consumer(self._settings, handle, streams=[self._settings.streams.of_group("orders", group)])

    async def effects(self) -> Counter[str]:
        """How many messages each group has handled; each once, or it raises."""
        found = [effect async for effect in self.database.effects.find()]
        assert len({effect["message"] for effect in found}) == len(found)
        return Counter(effect["group"] for effect in found)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("down_seconds", [0, pytest.param(60, marks=pytest.mark.slow)])
async def test_of_three_groups_each_handles_everything_once_though_one_is_down_for_a_while(
    down_seconds: int, mongo: AsyncMongoClient[Document], settings: OutboxSettings, tmp_path: Path
) -> None:
    shop = Shop(mongo, settings)

    async def handled(**counts: int) -> None:
        async def so_many() -> bool:
            return await shop.effects() == Counter(counts)

        await eventually(so_many, 30, what=f"handled {counts}")

    with a_relay(tmp_path / "relay.log", _environment(settings)):
        async with AsyncExitStack() as others:
            for group in ("billing", "stock"):
                await others.enter_async_context(at_work(shop.worker(group)))
            async with at_work(shop.worker("mail")):
                await shop.order(20)
                await handled(billing=20, mail=20, stock=19)
            await shop.order(20)
            await handled(billing=40, mail=20, stock=38)
            await asyncio.sleep(down_seconds)  # trims, sweeps, rescues and looks at groups take place meanwhile
            async with at_work(shop.worker("mail")):
                await handled(billing=40, mail=40, stock=38)

                async def settled() -> bool:
                    states = Counter([message["state"] async for message in shop.database.outbox.find()])
                    return states == Counter(completed=118, dead=2)

                await eventually(settled, 30)
    dead = [message async for message in shop.database.outbox.find({"state": "dead"})]
    assert {(message["stream"], message["key"]) for message in dead} == {("orders:stock", "0")}


async def test_append_returns_the_id_of_the_first_group_and_append_each_those_of_all(
    mongo: AsyncMongoClient[Document], settings: OutboxSettings
) -> None:
    shop = Shop(mongo, settings)
    async with mongo.start_session() as session, await session.start_transaction():
        first = await shop.outbox.append(session, "orders", {"a": "b"}, key="k")
        ids = await shop.outbox.append_each(session, "orders", Draft({"a": "b"}, "k"))
        alone = await shop.outbox.append(session, "orders:mail", {"a": "b"}, key="k")
    found = {message["_id"]: message["stream"] async for message in shop.database.outbox.find()}
    assert tuple(ids) == GROUPS
    assert {ids[group]: found.pop(ids[group]) for group in ids} == {
        ids["billing"]: "orders", ids["mail"]: "orders:mail", ids["stock"]: "orders:stock",
    }  # fmt: skip
    assert found.pop(first) == "orders"
    assert found.pop(alone) == "orders:mail"
    assert sorted(found.values()) == ["orders:mail", "orders:stock"]


def test_a_plain_session_appends_for_each_group_too(
    mongo: AsyncMongoClient[Document], settings: OutboxSettings
) -> None:
    outbox = Outbox(settings.streams, database=settings.mongodb_database)
    uri = settings.mongodb_uri.get_secret_value()
    with MongoClient[Document](uri) as client, client.start_session() as session, session.start_transaction():
        assert isinstance(outbox.append(session, "orders", {"a": "b"}, key="k"), ObjectId)
        assert list(outbox.append_each(session, "orders", Draft({"a": "b"}, "k"))) == list(GROUPS)


def test_each_group_has_the_priorities_and_shards_of_its_stream() -> None:
    streams = Streams([Stream("s", "a", 1, groups=("b",), priorities=(Priority.HIGH,), shards=2)])
    assert sorted(streams) == sorted(["s", "s:high", "s:1", "s:1:high", "s:b", "s:b:high", "s:b:1", "s:b:1:high"])
    assert streams.fan_out("s") == ["s", "s:b"]
    assert streams.fan_out("s:high") == ["s:high", "s:b:high"]
    assert streams.fan_out("s:b") == ["s:b"]
    assert {stream.group for stream in streams.family("s")} == {"a"}
    assert {stream.group for stream in streams.family("s:b")} == {"b"}
    assert streams.serving("s:b", Priority.HIGH, "key").family == "s:b"


def test_groups_are_declared_with_or_without_a_first_one() -> None:
    def declared(**values: Any) -> tuple[str, tuple[str, ...]]:
        [stream] = load(OutboxSettings, outbox_streams=[{"name": "s", **values}]).outbox_streams
        return stream.declared().group, stream.declared().groups

    assert declared(groups=["a", "b"]) == ("a", ("b",))
    assert declared(group="b", groups=["a", "b"]) == ("b", ("a",))
    assert declared(group="a") == ("a", ())
    with pytest.raises(SettingsError, match="group"):
        declared()


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        ({"groups": ("a",)}, "named twice"),
        ({"groups": ("b", "b")}, "named twice"),
        ({"groups": ("b c",)}, "use letters"),
        ({"groups": ("{b}",)}, "use letters"),
        ({"groups": ("b",), "subject": Subject()}, "no subject"),
    ],
)
def test_what_cannot_be_groups_is_refused(stream: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        Stream("s", "a", **stream)


def test_a_group_that_is_not_declared_is_refused_with_the_way_to_declare_it() -> None:
    with pytest.raises(
        UndeclaredGroup, match=r"'audit'.*'orders'.*'billing', 'mail', 'stock'.*\"groups\": \[\"audit\"\]"
    ):
        Streams([ORDERS]).of_group("orders", "audit")


@pytest.mark.parametrize("options", [("--group", "audit"), ("--group", "audit", "--stream", "orders"), ()])
async def test_a_worker_under_a_group_that_is_not_declared_ends_and_says_how_to_declare_it(
    settings: OutboxSettings, tmp_path: Path, options: tuple[str, ...]
) -> None:
    worker = WorkerProcess(tmp_path / "worker.log", _environment(settings), "effect", *options)
    with running(worker):
        assert await asyncio.to_thread(worker.wait) == 2
    for told in ("billing", "mail", "stock", *(["audit", "groups", "OUTBOX_STREAMS"] if options else ["--group"])):
        assert worker.told(told)


async def test_a_worker_reads_as_the_group_that_it_names(settings: OutboxSettings, tmp_path: Path) -> None:
    worker = WorkerProcess(tmp_path / "worker.log", _environment(settings), "effect", "--group", "mail")
    with running(worker):
        await asyncio.to_thread(worker.started)
        assert worker.told('"streams": ["orders:mail"]')


async def test_a_consumer_under_a_group_that_is_not_declared_is_refused(settings: OutboxSettings, redis: Redis) -> None:
    with pytest.raises(UndeclaredGroup):
        await Consumer(settings, print, streams=[replace(ORDERS, group="audit", groups=())]).run()
    assert await redis.keys("*") == []
