"""Documents that are there, and to which a message's key does not lead: nothing that is about them ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Timestamp
from bson.binary import UuidRepresentation

from outbox.message import unnamed
from outbox.message.document import State
from tests.cli.conftest import Cli, Shelf

SEVEN = UUID(int=7)
LEFT, ENDED = ["pending", "dead"], ["completed", "gone"]
Declare = Callable[..., None]


@pytest.fixture
def declare(healthy: Cli, monkeypatch: pytest.MonkeyPatch) -> Declare:
    def declare(id_type: str | None) -> None:
        of_type = {"id_type": id_type} if id_type else {}
        subject = {"collection": "orders", "field": "status", "wanted": "new", **of_type}
        stream = {"name": "orders", "group": "g", "partitions": 1, "subject": subject}
        monkeypatch.setenv("OUTBOX_STREAMS", json.dumps([stream]))
        assert healthy("init").code == 0

    return declare


def under_way(shelf: Shelf, key: str, **values: Any) -> list[ObjectId]:
    """A message that is not sent yet and one that is dead: those that end when they are about nothing."""
    then = datetime.now(UTC) - timedelta(minutes=2)
    return [
        shelf.put(state, key=key, stream="orders", partition=0, at=then, **values)[0]
        for state in (State.PENDING, State.DEAD)
    ]


def checks(cli: Cli, *options: str) -> set[str]:
    return {each["check"] for each in cli("verify", *options, "--json").json["findings"]}


def doubts(cli: Cli) -> list[str]:
    return [each["what"] for each in cli("verify", "--json").json["findings"] if each["check"] == "subject"]


def test_one_document_among_very_many_of_another_type(healthy: Cli, shelf: Shelf, declare: Declare) -> None:
    declare(None)
    shelf.db.orders.insert_one({"_id": 42, "status": "new"})
    shelf.db.orders.insert_many([{"_id": ObjectId(), "status": "done"} for _ in range(1000)])
    ids = under_way(shelf, "42")
    healthy("verify", "--repair")
    assert shelf.states(*ids) == LEFT
    [told] = doubts(healthy)
    assert "documents of " in told
    assert "an _id of type int, and the keys of messages are read as strings and ObjectIds" in told
    doctor = healthy("doctor", "--json").json["findings"]
    assert [told in each["what"] for each in doctor if each["check"] == "subject"] == [True]


@pytest.mark.parametrize("id_type", ["uuid", "binData"])
@pytest.mark.parametrize("others", [0, 3], ids=["alone", "among others"])
def test_binary_of_another_subtype(healthy: Cli, shelf: Shelf, declare: Declare, id_type: str, others: int) -> None:
    declare(id_type)
    subtype = {"uuid": 4, "binData": 0}[id_type]
    shelf.db.orders.insert_one({"_id": Binary(SEVEN.bytes, 3), "status": "new"})
    for n in range(others):
        shelf.db.orders.insert_one({"_id": Binary(UUID(int=n).bytes, subtype), "status": "new"})
    ids = under_way(shelf, {"uuid": str(SEVEN), "binData": SEVEN.bytes.hex()}[id_type])
    healthy("verify", "--repair")
    assert shelf.states(*ids) == LEFT
    assert ["binData (subtype 3)" in told for told in doubts(healthy)] == [True]


def test_a_key_that_is_not_the_text_of_an_id(healthy: Cli, shelf: Shelf, declare: Declare) -> None:
    declare(None)
    shelf.db.orders.insert_one({"_id": {"shop": 1, "number": 2}, "status": "new"})
    ids = under_way(shelf, "1/2")
    healthy("verify", "--repair")
    assert shelf.states(*ids) == LEFT
    assert ["an _id of type object" in told for told in doubts(healthy)] == [True]


def test_a_key_that_append_has_read_is_a_key_all_the_same(healthy: Cli, shelf: Shelf, declare: Declare) -> None:
    """Of one in capitals it stores what the key is read as, and the document's id is of another subtype."""
    declare("binData")
    shelf.db.orders.insert_many([{"_id": Binary(b"\xab", 5), "status": "new"}, {"_id": b"\xac", "status": "new"}])
    ids = under_way(shelf, "AB", subject={"id": b"\xab"})
    healthy("verify", "--repair")
    assert shelf.states(*ids) == LEFT


JAVA = Binary.from_uuid(UUID("00112233-4455-6677-8899-aabbccddeeff"), UuidRepresentation.JAVA_LEGACY)


@pytest.mark.parametrize(
    ("id_type", "there", "key", "subject"),
    [
        ("int", 1.5, "1.5", None),
        ("double", Decimal128("0.1"), "0.1", None),
        ("double", Int64(2**53 + 1), str(2**53 + 1), None),
        ("decimal", 0.1, "0.1", None),
        ("objectId", "65a1f0c2e4b0a1b2c3d4e5f6", "65a1f0c2e4b0a1b2c3d4e5f6", None),
        ("string", "Caf\u00e9", "Cafe\u0301", None),
        ("int", 5, "five", None),
        (None, JAVA, "any", Binary(UUID("00112233-4455-6677-8899-aabbccddeeff").bytes, 4)),
        (None, "a", "any", ["not", "an", "id"]),
    ],
)  # fmt: skip
def test_an_id_that_is_read_otherwise(
    healthy: Cli, shelf: Shelf, declare: Declare, id_type: str | None, there: Any, key: str, subject: Any
) -> None:
    declare(id_type)
    shelf.db.orders.insert_one({"_id": there, "status": "new"})
    ids = under_way(shelf, key, **({"subject": {"id": subject}} if subject else {}))
    healthy("verify", "--repair")
    assert shelf.states(*ids) == LEFT


def test_a_collection_that_compares_texts_in_its_own_way(healthy: Cli, shelf: Shelf, declare: Declare) -> None:
    declare("string")
    shelf.db.create_collection("orders", collation={"locale": "en", "strength": 2})
    shelf.db.orders.insert_one({"_id": "ABC", "status": "new"})
    there, gone = under_way(shelf, "abc"), under_way(shelf, "abd")
    healthy("verify", "--repair")
    assert (shelf.states(*there), shelf.states(*gone)) == (LEFT, ENDED)


def test_a_view_may_hide_what_is_there(healthy: Cli, shelf: Shelf, declare: Declare) -> None:
    declare("int")
    shelf.db.all_orders.insert_many([{"_id": 1, "status": "new", "ours": True}, {"_id": 2, "status": "new"}])
    shelf.db.create_collection("orders", viewOn="all_orders", pipeline=[{"$match": {"ours": True}}])
    ids = under_way(shelf, "2", subject={"id": 2})
    healthy("verify", "--repair")
    assert shelf.states(*ids) == LEFT


A_DATE = datetime(2024, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("id_type", "there", "key"),
    [
        (None, ["a", ObjectId()], "b"),
        ("objectId", ["a", ObjectId()], "b"),
        ("string", ["a"], "b"),
        ("int", [1, 2.0, Decimal128("3")], "4"),
        ("double", [1, 2.5], "4"),
        ("decimal", [1, Decimal128("0.1")], "4"),
        ("uuid", [Binary(SEVEN.bytes, 4), Binary(b"\xff" * 16, 4)], str(UUID(int=8))),
        ("binData", [b"", b"a", b"ab", b"\xff" * 40], "00"),
        ("bool", [True], "false"),
        ("date", [A_DATE], "2024-01-02T00:00:01Z"),
        ("timestamp", [Timestamp(1, 1)], "1:2"),
    ],
)
def test_what_is_gone_ends_whatever_type_its_id_has(
    healthy: Cli, shelf: Shelf, declare: Declare, id_type: str | None, there: list[Any], key: str
) -> None:
    declare(id_type)
    shelf.db.orders.insert_many([{"_id": each, "status": "done"} for each in there])
    ids = under_way(shelf, key)
    assert doubts(healthy) == []
    healthy("verify", "--repair")
    assert shelf.states(*ids) == ENDED


@pytest.mark.parametrize("stranger", [None, {"a": 1}, False, A_DATE, Timestamp(1, 1), Binary(b"x" * 16, 5), 7, "x"])
async def test_a_stranger_is_found_without_reading_the_others(shelf: Shelf, stranger: Any) -> None:
    """In the index, each part to which no key leads is looked at by itself."""
    orders = shelf.db.orders
    orders.insert_many([{"_id": Binary(UUID(int=n).bytes, 4)} for n in range(500)])
    parts = list(unnamed._gaps(unnamed._NAMED["uuid"]))

    def read() -> list[int]:
        looks = []
        for low, high in parts:
            look = orders.find({}, {"_id": 1}).hint({"_id": 1}).limit(1)
            look = look if low is None else look.min([("_id", low)])
            look = look if high is None else look.max([("_id", high)])
            looks.append(look.explain()["executionStats"]["totalKeysExamined"])
        return looks

    assert read() == [0, 0]
    orders.insert_one({"_id": stranger})
    assert sum(read()) == 1
