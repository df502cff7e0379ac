"""What is declared in code is checked as OUTBOX_STREAMS is: what no program could read is never registered."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from math import inf, nan
from typing import Any

import pytest
from pydantic import ValidationError
from pymongo import AsyncMongoClient

from outbox import Outbox, Priority, Retry, SettingsError, Stream, Streams, Subject
from outbox.database import STREAMS, Database, Document
from outbox.message import schema
from outbox.settings import StreamSetting
from outbox.streams import declaring, limits, registry

NUMBERS = [-1, -1.0, nan, inf, True, "x", None, (), 2.5, 2.0, 2**64]
WRONG: list[tuple[str, list[Any]]] = [
    ("name", ["", "a b", 5, None, b"s"]),
    ("group", ["", 5, None, ("g",)]),
    ("groups", ["audit", ("audit", 5), ("a b",), ("g",), ("a", "a"), None, 5, {"a": 1}, {"a"}]),
    ("priorities", ["low", ("urgent",), ("normal",), ("low", "low"), (5,), ([],), None, 5, {"low"}]),
    ("subject", ["x", {"collection": "orders"}, 5]),
    ("retry", [None, 5, "x", {"attempts": 5}]),
    ("partitions", [*NUMBERS, 0, 257]),
    ("shards", [*NUMBERS, 0, 65]),
    ("max_undelivered", [-1, nan, inf, True, "x", None, 10.5, 2.0, 2**63]),
    ("rescue_seconds", [-5.0, nan, inf, True, "x", None, 1e10]),
    ("handler_seconds", [-1.0, nan, inf, True, "x", None, 1e10]),
    ("unique_seconds", [-1.0, nan, inf, True, "x", None, 1e8]),
    ("ignore_groups_after_seconds", [0, 59.9, nan, inf, True, "x", 1e10]),
    ("trim", ["no", None, 0, 1]),
    ("gone_is_done", ["no", None, 0, 1]),
    ("prefix", [None, 5, b"a:"]),
]


@pytest.mark.parametrize(("name", "values"), WRONG, ids=[name for name, _ in WRONG])
def test_a_property_that_cannot_be_is_refused_by_name(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(SettingsError, match=name.removesuffix("s").removesuffix("ie")):
            Stream(**{"name": "orders", "group": "g", name: value})


@pytest.mark.parametrize(
    "values",
    [
        {"attempts": 0}, {"attempts": 2.0}, {"attempts": 1001}, {"attempts": "5"}, {"base_seconds": 0},
        {"base_seconds": nan}, {"cap_seconds": -1}, {"cap_seconds": inf}, {"cap_seconds": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_retry_that_cannot_be_is_refused_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"retry: {next(iter(values))} must be"):
        Retry(**values)


@pytest.mark.parametrize(
    "values", [{"collection": 5}, {"field": 5}, {"id_type": 5}, {"failure": "failed"}, {"failure": {5: 1}}], ids=str
)
def test_a_subject_that_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="subject"):
        Subject(**values)


def accepted(make: Callable[..., object], values: dict[str, Any]) -> bool:
    try:
        make(**values)
    except (SettingsError, ValidationError):
        return False
    return True


@pytest.mark.parametrize("name", [*limits.STREAM, *limits.RETRY])
def test_the_limits_are_those_of_the_settings(name: str) -> None:
    def setting(**values: Any) -> object:
        return StreamSetting(name="s", group="g", **({"retry": values} if name in limits.RETRY else values)).declared()

    def in_code(**values: Any) -> object:
        return Stream("s", "g", **({"retry": Retry(**values)} if name in limits.RETRY else values))

    limit = (limits.STREAM | limits.RETRY)[name]
    ends = [limit.least, limit.highest, limit.least - 1, limit.highest * 2]
    taken = [(accepted(setting, {name: value}), accepted(in_code, {name: value})) for value in ends]
    assert taken == [(not limit.above,) * 2, (True, True), (False, False), (False, False)]


def test_lists_are_taken_for_tuples_and_texts_for_priorities() -> None:
    class Size(IntEnum):
        MANY = 8

    stream = Stream("s", "g", Size.MANY, priorities=["low", Priority.HIGH], groups=["h"])  # type: ignore[arg-type]
    assert (stream.priorities, stream.groups) == ((Priority.LOW, Priority.HIGH), ("h",))
    assert stream == Stream("s", "g", 8, priorities=(Priority.LOW, Priority.HIGH), groups=("h",))


@pytest.mark.parametrize(
    ("name", "value"), [("group", "\ud800"), ("subject", "x"), ("rescue_seconds", "soon"), ("partitions", 0)]
)
async def test_what_no_program_could_read_is_not_registered(
    mongo: AsyncMongoClient[Document], database: str, name: str, value: object
) -> None:
    """Also what no check of the declaration knows of."""
    there = Database(mongo, database)
    await schema.ensure(there, Streams([Stream("exports", "g")]))
    stream = Stream("orders", "g")
    outbox = Outbox(Streams([stream]), database=database)
    object.__setattr__(stream, name, value)
    before = [await there[one].find().to_list() for one in (STREAMS, "outbox_partitions")]
    with pytest.raises(SettingsError, match="stream 'orders' cannot be registered"):
        await outbox.register(mongo)
    assert [await there[one].find().to_list() for one in (STREAMS, "outbox_partitions")] == before


async def test_what_was_registered_before_its_limits_were_checked_is_brought_within_them(
    mongo: AsyncMongoClient[Document], database: str
) -> None:
    there = Database(mongo, database)
    await schema.ensure(there, Streams([Stream("orders", "g")]))
    beyond = {
        "handler_seconds": -1.0, "rescue_seconds": inf, "unique_seconds": nan, "ignore_groups_after_seconds": 5,
        "retry": {"attempts": 5000, "base_seconds": 0, "cap_seconds": 600.0},
    }  # fmt: skip
    await there[STREAMS].update_one({}, {"$set": beyond})
    read = await registry.read(there)
    assert read is not None
    assert read["orders"] == Stream(
        "orders", "g", handler_seconds=0, rescue_seconds=1e9, unique_seconds=0, ignore_groups_after_seconds=60,
        retry=Retry(1000, 1e-6, 600.0),
    )  # fmt: skip
    await schema.ensure(there, Streams([Stream("orders", "g")]))
    healed = await registry.read(there)
    assert healed is not None
    assert healed["orders"] == Stream("orders", "g")


async def test_what_others_change_while_init_registers_what_it_has_read_is_kept(
    mongo: AsyncMongoClient[Document], database: str
) -> None:
    there = Database(mongo, database)
    await schema.ensure(there, Streams([Stream("orders", "g")]))
    default = Streams([Stream("files", "g")])
    read = await declaring.of_settings(there, default, explicit=False, needs=["files"])
    await schema.ensure(there, Streams([Stream("orders", "g", trim=False)]))
    assert "registered stream files" in await schema.ensure(there, read)
    registered = await registry.read(there)
    assert registered is not None
    assert (registered["orders"].trim, list(registered)) == (False, ["files", "orders"])
