"""An outbox beside others: in a database of its own, and beside another application's in the same one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from outbox.database import Document
from outbox.errors import ForeignStream, WrongDeclaration
from outbox.operations import stats
from outbox.worker import Consumer
from tests.faults.neighbours import Application
from tests.faults.relays import in_this_process
from tests.outbox.test_ownership import picture
from tests.waiting import eventually

Client = AsyncMongoClient[Document]


@pytest.fixture
async def apart(mongo: Client, mongodb_uri: str, redis_url: str, database: str) -> AsyncIterator[Application]:
    """An application whose outbox is in another database than its orders."""
    application = f"{database}_orders"
    yield Application(
        mongo, "shop", mongodb_uri=mongodb_uri, redis_url=redis_url, mongodb_database=application,
        outbox_database=database, outbox_prefix="shop_outbox",
    )  # fmt: skip
    await mongo.drop_database(application)


async def test_an_outbox_in_a_database_of_its_own(mongo: Client, redis: Redis, apart: Application) -> None:
    await apart.set_up()
    async with apart.running():
        await apart.place_orders(20)
        await apart.comes_to_rest(20)
        # A loss is noticed, and what is settled is not published again: the subjects are looked up where they are.
        await redis.flushall()
        await apart.place_orders(10)
        await apart.comes_to_rest(30)
    assert set(apart.handled.values()) == {1}
    in_the_application = await apart.database.application.list_collection_names()
    assert not [name for name in in_the_application if "outbox" in name]
    names = await mongo[apart.database.name].list_collection_names()
    assert "shop_outbox_partitions" in names
    assert {name for name in names if not name.startswith("shop_outbox")} == set()


def _shop(client: Client, name: str, uri: str, redis_url: str, database: str, prefix: str = "") -> Application:
    """One of several in a database and a Redis, all with a stream of the same name."""
    return Application(
        client, name, stream="jobs", mongodb_uri=uri, redis_url=redis_url, mongodb_database=database,
        outbox_prefix=f"{name}_outbox", outbox_redis_prefix=prefix,
    )  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
async def test_two_applications_share_a_database_and_a_redis(
    mongo: Client, redis: Redis, mongodb_uri: str, redis_url: str, database: str, count: int
) -> None:
    shops = [_shop(mongo, name, mongodb_uri, redis_url, database, f"{name}:") for name in ("books", "games")]
    for shop in shops:
        await shop.set_up()
    async with shops[0].running(), shops[1].running():
        await asyncio.gather(*(shop.place_orders(count) for shop in shops))
        for shop in shops:
            await shop.comes_to_rest(count, 120)
    assert [len(shop.handled) for shop in shops] == [count, count]
    assert not shops[0].handled.keys() & shops[1].handled.keys()
    status = (await stats.collect(shops[0].database, redis, shops[0].settings.streams)).as_json()
    assert (status["redis"]["prefix"], status["streams"]["jobs"]["unacknowledged"]) == ("books:", 0)
    keys = {str(key) for key in await redis.keys("*")}
    assert {key.lstrip("{").partition(":")[0] for key in keys} == {"books", "games"}
    assert {"books:jobs", "games:jobs", "{books:jobs}:outbox:stream", "{books:jobs}:outbox:0"} <= keys


async def test_without_a_prefix_the_second_one_refuses_and_nothing_is_lost(
    mongo: Client, redis: Redis, mongodb_uri: str, redis_url: str, database: str
) -> None:
    books, games = (_shop(mongo, name, mongodb_uri, redis_url, database) for name in ("books", "games"))
    await books.set_up()
    await games.set_up()
    async with books.running():
        await books.place_orders(50)
        await books.comes_to_rest(50)
        refused = Consumer(games.settings, games.handle)
        with pytest.raises(ForeignStream):  # its groups are another one's, its stream is not
            await refused.run()
        async with in_this_process(games.settings):
            await games.place_orders(50)
            await books.place_orders(50)
            await books.comes_to_rest(100)
    assert await games.database["outbox"].count_documents({"state": "pending"}) == 50
    assert not games.handled
    # As the refusal says: a prefix of its own, or another Redis. What waited goes out there.
    games = _shop(mongo, "games", mongodb_uri, redis_url, database, "games:")
    await games.set_up()
    async with games.running():
        await games.comes_to_rest(50)
    assert len(games.handled) == 50


async def test_without_a_prefix_for_its_collections_the_second_one_refuses_and_nothing_is_changed(
    mongo: Client, redis: Redis, mongodb_uri: str, redis_url: str, database: str
) -> None:
    books = _shop(mongo, "books", mongodb_uri, redis_url, database, "books:")
    settings = {"mongodb_uri": mongodb_uri, "redis_url": redis_url, "mongodb_database": database}
    games = Application(mongo, "games", stream="jobs", **settings, outbox_prefix="books_outbox")
    await books.set_up()
    await books.place_orders(50)
    before = await picture(books.database)
    with pytest.raises(WrongDeclaration):
        await games.set_up()
    with pytest.raises(WrongDeclaration):
        async with in_this_process(games.settings) as relay:
            await relay.run()
    with pytest.raises(WrongDeclaration):
        await Consumer(games.settings, games.handle).run()
    assert await picture(books.database) == before
    async with books.running():
        await books.comes_to_rest(50)
    assert set(books.handled.values()) == {1}
    assert not games.handled


async def test_a_prefix_is_one_for_all_programs_of_an_outbox_and_can_be_added(
    mongo: Client, redis: Redis, mongodb_uri: str, redis_url: str, database: str
) -> None:
    bare, prefixed, otherwise = (
        _shop(mongo, "books", mongodb_uri, redis_url, database, prefix) for prefix in ("", "books:", "games:")
    )
    await bare.set_up()
    async with bare.running():
        await bare.place_orders(20)
        await bare.comes_to_rest(20)
    async with in_this_process(bare.settings):
        await bare.place_orders(5)
        await eventually(lambda: redis.xlen("jobs"))
    await prefixed.set_up()
    for wrong in (bare, otherwise):
        with pytest.raises(WrongDeclaration, match=r"OUTBOX_REDIS_PREFIX is .* and 'books:' is registered"):
            await Consumer(wrong.settings, wrong.handle).run()
        with pytest.raises(WrongDeclaration, match="OUTBOX_REDIS_PREFIX"):
            await wrong.set_up()
    async with prefixed.running():
        await prefixed.comes_to_rest(25)
    assert set(prefixed.handled.values()) == {1}
    assert not bare.handled.keys() & prefixed.handled.keys()
