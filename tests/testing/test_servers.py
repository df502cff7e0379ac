"""One pair of servers for the kits of a whole run, whose modules may declare one place differently."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.client_session import ClientSession

from outbox.database import Document
from outbox.errors import InvalidMessage, SchemaError
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Stream, Streams, Subject
from outbox.testing import Kit, Servers
from outbox.testing.relay import Relay
from outbox.worker import Message


class Closed(MongoClient[Document]):
    """A client that tells whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True
        super().close()


ORDERS = Stream("orders", "shippers", partitions=2)
OTHERS = {
    "group": replace(ORDERS, group="packers"),
    "partitions": replace(ORDERS, partitions=1),
    "subject": replace(ORDERS, subject=Subject(collection="orders")),
    "groups": replace(ORDERS, groups=("billing",)),
    "name": Stream("letters", "post"),
    "prefix": replace(ORDERS, prefix="staging:"),
}


def settings(**values: object) -> OutboxSettings:
    return load(OutboxSettings, mongodb_database="turns", **values)


def works(kit: Kit, stream: Stream) -> None:
    """A message goes all its way, and what is registered is what the kit declares."""
    keys = ["tea", "coffee", "milk", "sugar"]

    def handle(message: Message, session: ClientSession) -> None:
        parsed = {"$set": {"parsing": "parsed"}}
        session.client.turns.orders.update_one({"_id": message.key}, parsed, session=session)

    kit.client.turns.orders.insert_many([{"_id": key, "parsing": "queued"} for key in keys])
    for key in keys:
        kit.append(stream.name, {"item": key}, key=key)
    worked = kit.work(handle, *(member.name for member in stream.members()))
    assert {message.state for message in worked} == {"completed"}
    assert len(worked) == len(keys) * (1 + len(stream.groups))
    registered = list(kit.client.turns.outbox_streams.find())
    assert [(one["_id"], one["group"], one["partitions"]) for one in registered] == [
        (stream.name, stream.group, stream.partitions)
    ]
    partitions = {one["_id"] for one in kit.client.turns.outbox_partitions.find()}
    assert partitions == {f"{member.name}/{n}" for member in stream.members() for n in range(stream.partitions)}


@pytest.mark.parametrize("differing", OTHERS)
def test_two_modules_declare_the_same_place_differently_and_take_turns(differing: str, outbox_servers: Servers) -> None:
    streams = [ORDERS, OTHERS[differing], ORDERS, OTHERS[differing]]
    kits = []
    for stream in streams:
        kits.append(outbox_servers.kit(settings(), Streams([stream])))
        works(kits[-1], stream)
    assert kits[:2] == kits[2:]
    assert kits[0] is not kits[1]


def test_settings_of_one_kit_are_not_those_of_the_next(outbox_servers: Servers) -> None:
    for limit in (1024, 4096, 1024):
        kit = outbox_servers.kit(settings(outbox_max_message_bytes=limit), Streams([ORDERS]))
        kit.append("orders", {"item": "x" * (limit - 300)}, key="a")
        with pytest.raises(InvalidMessage):
            kit.append("orders", {"item": "x" * limit}, key="a")


def test_what_a_kit_that_failed_had_opened_is_closed_and_the_one_before_goes_on(
    outbox_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = outbox_servers.kit(settings(), Streams([ORDERS]))
    threads = set(threading.enumerate())
    clients = list[Closed]()

    def connect(_: object) -> Closed:
        clients.append(Closed(connect=False))
        return clients[-1]

    async def start(*_: object) -> Relay:
        raise SchemaError("no such luck")

    with monkeypatch.context() as patched:
        patched.setattr(Relay, "start", start)
        patched.setattr("outbox.testing.kit.connect_mongo_sync", connect)
        with pytest.raises(SchemaError, match="no such luck"):
            outbox_servers.kit(settings(), Streams([replace(ORDERS, group="never made")]))
    assert [client.closed for client in clients] == [True]
    assert [thread.name for thread in set(threading.enumerate()) - threads if thread.name == "outbox-testing"] == []
    assert outbox_servers.kit(settings(), Streams([ORDERS])) is before
    works(before, ORDERS)


def test_a_service_is_told_the_names_of_its_outbox_whatever_is_set_otherwise(
    outbox_servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = {"outbox_database": "apart", "outbox_prefix": "mine", "outbox_redis_prefix": "staging:"}
    for given in (names, {}):
        kit = outbox_servers.kit(settings(**given), None if given else Streams([ORDERS]))
        with monkeypatch.context() as patched:
            patched.chdir(tmp_path)
            for name in names:
                patched.setenv(name.upper(), "another")
            for name, value in kit.environment.items():
                patched.setenv(name, value)
            read = load(OutboxSettings)
        assert (read.place, read.outbox_redis_prefix) == (kit.settings.place, given.get("outbox_redis_prefix", ""))
