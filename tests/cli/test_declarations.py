"""Streams are registered by `outbox init`, and every program refuses a declaration that contradicts them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.database import Database

from outbox import Outbox, SchemaError, Streams, WrongDeclaration
from outbox.message.document import State
from outbox.streams.declaration import Priority, Stream
from tests.cli.conftest import Cli, Shelf

ORDERS: dict[str, Any] = {"name": "orders", "group": "shop", "partitions": 4}
WRONG: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"partitions": 8}, ("partitions", "8", "4", "outbox streams change orders --partitions 8")),
    ({"group": "others"}, ("group", "'others'", "'shop'", "outbox streams change")),
    ({"shards": 2}, ("shards", "2", "1")),
    ({"subject": {"collection": "orders", "wanted": "new"}}, ("subject", "'new'", "None")),
]
PROGRAMS = [
    ["status"],
    ["replay", "--key", "k", "--yes"],
    ["verify"],
    ["relay", "--once", "--port", "0"],
    ["worker", "--handler", "tests.worker.handlers:effect"],
    ["api", "--port", "0"],
]


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Any:
    def declare(*streams: dict[str, Any]) -> None:
        monkeypatch.setenv("OUTBOX_STREAMS", json.dumps(streams))

    return declare


def everything(db: Database[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {name: list(db[name].find()) for name in sorted(db.list_collection_names())}


def test_init_adds_its_streams_and_keeps_those_of_others(bare: Cli, shelf: Shelf, declare: Any) -> None:
    declare(ORDERS)
    assert "registered stream orders\n" in bare("init").out
    declare({"name": "exports", "group": "exporters"})
    assert bare("init", "--json").json["done"][0] == "registered stream exports"
    assert [one["name"] for one in bare("streams", "list", "--json").json["streams"]] == ["exports", "orders"]
    assert shelf.db.outbox_partitions.count_documents({}) == 8
    assert set(bare("status", "--json").json["streams"]) == {"orders", "exports"}


def test_init_without_a_declaration_registers_nothing_beside_what_is_there(
    bare: Cli, shelf: Shelf, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(ORDERS)
    assert bare("init").code == 0
    monkeypatch.delenv("OUTBOX_STREAMS")
    assert bare("init", "--json").json["done"] == []
    assert shelf.db.outbox_streams.distinct("_id") == ["orders"]
    assert set(bare("status", "--json").json["streams"]) == {"orders"}


@pytest.mark.parametrize(("change", "named"), WRONG, ids=[next(iter(change)) for change, _ in WRONG])
def test_init_refuses_a_declaration_that_contradicts_what_is_registered(
    bare: Cli, shelf: Shelf, declare: Any, change: dict[str, Any], named: tuple[str, ...]
) -> None:
    declare(ORDERS)
    assert bare("init").code == 0
    shelf.db.outbox.drop_index("dead")
    before = everything(shelf.db)
    declare({"name": "exports", "group": "exporters"}, ORDERS | change)
    result = bare("init")
    assert result.code == 2
    for word in ("stream 'orders'", *named, "correct OUTBOX_STREAMS"):
        assert word in result.err
    assert everything(shelf.db) == before
    assert "dead" not in shelf.db.outbox.index_information()


@pytest.mark.parametrize("program", PROGRAMS, ids=[program[0] for program in PROGRAMS])
def test_every_program_refuses_a_declaration_that_contradicts_what_is_registered(
    bare: Cli, shelf: Shelf, declare: Any, program: list[str]
) -> None:
    files = {"name": "file_parsing_queue", "group": "file_parsers", "subject": {}}
    declare(files, ORDERS)
    assert bare("init").code == 0
    before = everything(shelf.db)
    declare(files, ORDERS | {"group": "others"}, {"name": "unknown", "group": "g"})
    result = bare(*program)
    assert result.code == 2
    assert "stream 'orders': group is declared as 'others' and registered as 'shop'" in result.err
    assert (
        "stream 'unknown' is not registered in the database; registered are: file_parsing_queue, orders" in result.err
    )
    assert everything(shelf.db) == before


def test_a_relay_for_a_stream_that_is_not_registered_is_refused(outbox: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOX_RELAY_STREAMS", "file_parsing_queue,ordres")
    result = outbox("relay", "--once", "--port", "0")
    assert result.code == 2
    assert (
        "OUTBOX_RELAY_STREAMS names ordres, which is not registered; registered are: file_parsing_queue" in result.err
    )


def test_operational_properties_may_differ_and_init_sets_them(bare: Cli, shelf: Shelf, declare: Any) -> None:
    declare(ORDERS)
    assert bare("init").code == 0
    declare(ORDERS | {"max_undelivered": 5, "retry": {"attempts": 9}})
    assert bare("status").code == 0
    assert shelf.db.outbox_streams.find_one({"max_undelivered": 5}) is None
    assert set(bare("init", "--json").json["done"]) == {
        "stream orders: max_undelivered is 5 now, and was 200000",
        "stream orders: retry.attempts is 9 now, and was 5",
    }
    assert shelf.db.outbox_streams.find_one({"max_undelivered": 5, "retry.attempts": 9, "revision": 2})


@pytest.mark.parametrize(
    ("taken", "change", "command"),
    [
        ("orders:high", {"priorities": ["high"]}, ["init"]),
        ("orders:billing", {"groups": ["billing"]}, ["init"]),
        ("orders:1", {"shards": 2}, ["streams", "change", "orders", "--as-declared", "--programs-stopped"]),
    ],
)
def test_no_stream_takes_the_name_of_another_by_a_change(
    bare: Cli, shelf: Shelf, declare: Any, taken: str, change: dict[str, Any], command: list[str]
) -> None:
    declare(ORDERS, {"name": taken, "group": "others"})
    assert bare("init").code == 0
    before = everything(shelf.db)
    declare(ORDERS | change)
    refused = bare(*command)
    assert (refused.code, "declared twice" in refused.err) == (2, True)
    assert everything(shelf.db) == before


def test_priorities_are_added_and_a_program_may_know_fewer(bare: Cli, shelf: Shelf, declare: Any) -> None:
    declare(ORDERS)
    assert bare("init").code == 0
    declare(ORDERS | {"priorities": ["high"]})
    refused = bare("status")
    assert (refused.code, "run `outbox init`" in refused.err) == (2, True)
    assert bare("init").code == 0
    assert shelf.db.outbox_partitions.count_documents({"stream": "orders:high"}) == 4
    declare(ORDERS)
    assert bare("status").code == 0


def test_partitions_are_changed_by_command_and_both_numbers_are_accepted(bare: Cli, shelf: Shelf, declare: Any) -> None:
    declare(ORDERS)
    assert bare("init").code == 0
    shelf.put(State.PENDING, stream="orders", partition=3)
    assert bare("streams", "change", "orders", "--partitions", 6).out == "stream orders is changed\n"
    assert bare("streams", "change", "orders", "--partitions", 6).out == "there was nothing to do\n"
    assert shelf.db.outbox_partitions.count_documents({}) == 6
    for number in (4, 6):
        declare(ORDERS | {"partitions": number})
        assert bare("status").code == 0
        assert bare("init", "--json").json["done"] == []
    assert bare("streams", "list", "--json").json["streams"][0]["partitions"] == 6
    assert shelf.db.outbox_audit.count_documents({"action": "change-stream"}) == 1


def test_shards_are_changed_when_all_is_done_and_programs_are_stopped(bare: Cli, shelf: Shelf, declare: Any) -> None:
    declare(ORDERS)
    assert bare("init").code == 0
    [id_] = shelf.put(State.PENDING, stream="orders")
    declare(ORDERS | {"shards": 2})
    assert bare("streams", "change", "orders", "--as-declared").code == 2
    refused = bare("streams", "change", "orders", "--as-declared", "--programs-stopped")
    assert (refused.code, "1 pending" in refused.err) == (1, True)
    shelf.db.outbox.delete_one({"_id": id_})
    assert bare("streams", "change", "orders", "--as-declared", "--programs-stopped").code == 0
    assert bare("status").code == 0
    assert shelf.db.outbox_partitions.count_documents({"stream": "orders:1"}) == 4


@pytest.mark.parametrize("prefix", [None, "other:"], ids=["not set in this shell", "another one"])
def test_a_change_as_declared_keeps_the_prefix_that_is_registered(
    bare: Cli, shelf: Shelf, declare: Any, monkeypatch: pytest.MonkeyPatch, prefix: str | None
) -> None:
    """With another one, the stream would be another one in Redis, and what its workers have not read yet is away."""
    monkeypatch.setenv("OUTBOX_REDIS_PREFIX", "staging:")
    declare(ORDERS)
    assert bare("init").code == 0
    as_declared = ("streams", "change", "orders", "--as-declared", "--programs-stopped")
    with monkeypatch.context() as patch:
        patch.setenv("OUTBOX_REDIS_PREFIX", prefix) if prefix else patch.delenv("OUTBOX_REDIS_PREFIX")
        assert bare(*as_declared).out == "there was nothing to do\n"
        declare(ORDERS | {"group": "others"})
        assert bare(*as_declared).out == "stream orders is changed\n"
    [registered] = shelf.db.outbox_streams.find()
    assert (registered["prefix"], registered["group"]) == ("staging:", "others")
    assert bare("status").code == 0


def test_a_stream_is_removed_by_command_when_nothing_waits_in_it(bare: Cli, shelf: Shelf, declare: Any) -> None:
    declare(ORDERS, {"name": "exports", "group": "exporters"})
    assert bare("init").code == 0
    [id_] = shelf.put(State.DEAD, stream="orders")
    refused = bare("streams", "remove", "orders", "--yes")
    assert (refused.code, "1 dead" in refused.err) == (1, True)
    shelf.db.outbox.delete_one({"_id": id_})
    assert bare("streams", "remove", "orders", "--yes").code == 0
    assert shelf.db.outbox_partitions.distinct("stream") == ["exports"]
    assert bare("streams", "remove", "orders", "--yes").code == 2


async def test_a_program_of_ones_own_checks_its_streams(
    bare: Cli, shelf: Shelf, mongo: AsyncMongoClient[dict[str, Any]], database: str
) -> None:
    own = Outbox(Streams([Stream("orders", "shop", partitions=8, priorities=(Priority.HIGH,))]), database=database)
    for refused in (own.check(mongo), own.register(mongo)):
        with pytest.raises(SchemaError, match="Run: outbox init"):
            await refused
    assert shelf.db.list_collection_names() == []
    shelf.db.outbox_streams.insert_one({"_id": "orders", "revision": 1, "group": "shop", "partitions": 4})
    with pytest.raises(WrongDeclaration, match=r"partitions is declared as 8 and registered as 4.*priorities"):
        await own.check(mongo)
    plain: MongoClient[dict[str, Any]] = shelf.db.client
    with pytest.raises(WrongDeclaration, match="partitions is declared as 8"):
        own.check(plain)
    Outbox(Streams([Stream("orders", "shop")]), database=database).check(plain)
