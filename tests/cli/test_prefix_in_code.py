"""A program that declares its streams in code knows no prefix: it goes by the registered one, and changes none."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from redis import Redis

from outbox import Outbox, SettingsError, Stream, Streams, WrongDeclaration
from outbox.streams import registry
from outbox.streams.registry import Registered
from tests.cli.conftest import Cli, Shelf

ORDERS: dict[str, Any] = {"name": "orders", "group": "shop"}


@pytest.fixture
def staging(bare: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """An outbox whose streams have a prefix."""
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([ORDERS]))
    monkeypatch.setenv("OUTBOX_REDIS_PREFIX", "staging:")
    assert bare("init").code == 0
    return bare


def register(outbox: Outbox, uri: str) -> list[str]:
    async def body() -> list[str]:
        async with AsyncMongoClient[dict[str, Any]](uri) as client:
            done = await outbox.register(client)
            await outbox.check(client)
            return done

    return asyncio.run(body())


def prefixes(shelf: Shelf) -> dict[str, tuple[str, int]]:
    return {one["_id"]: (one["prefix"], one["revision"]) for one in shelf.db.outbox_streams.find()}


def test_streams_in_code_get_the_registered_prefix(
    staging: Cli, shelf: Shelf, mongodb_uri: str, redis_url: str, database: str
) -> None:
    outbox = Outbox(Streams([Stream("billing", "g", partitions=1), Stream("orders", "shop")]), database=database)
    assert "registered stream billing" in register(outbox, mongodb_uri)
    assert register(outbox, mongodb_uri) == []
    assert prefixes(shelf) == {"orders": ("staging:", 1), "billing": ("staging:", 1)}
    client: MongoClient[dict[str, Any]] = shelf.db.client
    with client.start_session() as session, session.start_transaction():
        outbox.append(session, "billing", {"a": "b"}, key="k")
    assert staging("relay", "--once", "--port", "0").code == 0
    with Redis.from_url(redis_url) as redis:
        assert (redis.xlen("staging:billing"), redis.exists("billing")) == (1, 0)


@pytest.mark.parametrize("there", ["", "staging:"], ids=["none", "another"])
def test_a_program_gives_an_outbox_no_other_prefix(
    bare: Cli, shelf: Shelf, mongodb_uri: str, database: str, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    """Messages of all other streams would be published where no worker reads."""
    monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([ORDERS]))
    monkeypatch.setenv("OUTBOX_REDIS_PREFIX", there)
    assert bare("init").code == 0
    for name in ("billing", "orders"):
        outbox = Outbox(Streams([Stream(name, "shop", prefix="shop:")]), database=database)
        with pytest.raises(WrongDeclaration, match="prefix is declared as 'shop:' and registered as"):
            register(outbox, mongodb_uri)
        with pytest.raises(WrongDeclaration, match=r"prefix is declared.*leave it out|not registered"):
            outbox.check(shelf.db.client)
    assert prefixes(shelf) == {"orders": (there, 1)}
    assert shelf.db.outbox_partitions.distinct("stream") == ["orders"]


@pytest.mark.parametrize(
    "streams",
    [
        [Stream("a", "x"), Stream("b", "g", prefix="other:")],
        [Stream("a", "x", prefix="a b")],
        [Stream("a", "x", prefix="{a}")],
        [Stream("a", "x", prefix="a" * 65)],
    ],
    ids=["several", "a blank", "a hash tag", "too long"],
)
def test_a_prefix_that_cannot_be_is_refused(streams: list[Stream]) -> None:
    with pytest.raises(SettingsError, match="prefix"):
        Outbox(Streams(streams))


def test_what_an_interrupted_init_left_is_read_and_mended_by_the_next(staging: Cli, shelf: Shelf) -> None:
    [orders] = shelf.db.outbox_streams.find()
    shelf.db.outbox_streams.insert_one(orders | {"_id": "a", "prefix": ""})
    registered = registry.understood(list(shelf.db.outbox_streams.find().sort("_id")))
    assert isinstance(registered, Registered)
    Outbox(registered)
    assert staging("init", "--json").json["done"][0] == "stream a: prefix is 'staging:' now, and was ''"
    assert prefixes(shelf) == {"orders": ("staging:", 1), "a": ("staging:", 2)}
