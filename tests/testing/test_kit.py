"""The kit that users' tests are built with."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession

from outbox import UndeclaredStream, UsageError
from outbox.settings import OutboxSettings, load
from outbox.streams.declaration import Stream, Streams
from outbox.testing import Kit, Servers, worker
from outbox.worker import GiveUp, Handlers, Message, RetryAfter

SHOP = "outbox"


def place(kit: Kit, item: str) -> None:
    """What a service does: an order and its message in one transaction."""
    with kit.client.start_session() as session, session.start_transaction():
        kit.client[SHOP].orders.insert_one({"_id": item, "state": "new"}, session=session)
        kit.outbox.append(session, "orders", {"item": item}, key=item)
        assert [message.key for message in kit.appended("orders", key=item, session=session)] == [item]
        assert kit.appended("orders", key=item) == []


def ship(message: Message, session: ClientSession) -> None:
    session.client[SHOP].orders.update_one({"_id": message.key}, {"$set": {"state": "shipped"}}, session=session)


async def ship_async(message: Message, session: AsyncClientSession) -> None:
    await session.client[SHOP].orders.update_one({"_id": message.key}, {"$set": {"state": "shipped"}}, session=session)


def states(kit: Kit) -> dict[str, str]:
    return {order["_id"]: order["state"] for order in kit.client[SHOP].orders.find()}


def test_what_was_appended_is_seen_within_the_transaction_and_after_it(outbox_kit: Kit) -> None:
    place(outbox_kit, "tea")
    [message] = outbox_kit.appended("orders", key="tea")
    assert (message.fields, message.state, message.attempts) == ({"item": "tea"}, "pending", 0)
    assert outbox_kit.appended("orders", key="coffee") == []
    with pytest.raises(UndeclaredStream, match="did you mean 'orders'"):
        outbox_kit.appended("order")


async def test_what_was_appended_is_seen_through_an_async_session(outbox_kit: Kit) -> None:
    async with outbox_kit.connect() as client, client.start_session() as session, await session.start_transaction():
        await outbox_kit.outbox.append(session, "orders", {"item": "tea"}, key="tea")
        [message] = await outbox_kit.appended("orders", session=session)
        assert message.fields == {"item": "tea"}
        assert outbox_kit.appended("orders") == []


def test_a_message_for_several_groups_and_of_any_priority_is_found_by_the_name_it_was_appended_to(
    outbox_kit: Kit,
) -> None:
    outbox_kit.append("urgent", {"item": "tea"}, key="tea", priority="high")
    assert [message.stream for message in outbox_kit.appended("urgent")] == ["urgent:high", "urgent:billing:high"]


def test_one_call_handles_so_many_messages_and_says_when_there_are_more(
    outbox_kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MOST", 3)
    for item in ("tea", "coffee", "milk"):
        place(outbox_kit, item)
    assert len(outbox_kit.work(ship)) == 3
    for item in ("tea", "coffee", "milk", "sugar"):
        outbox_kit.append("orders", {"item": item}, key=item)
    with pytest.raises(AssertionError, match="after 3 messages there is still something left"):
        outbox_kit.work(ship)


@pytest.mark.parametrize("number", [1, 2])
def test_each_test_begins_with_nothing(number: int, outbox_kit: Kit) -> None:
    assert (outbox_kit.appended("orders"), states(outbox_kit)) == ([], {})
    place(outbox_kit, "tea")
    assert outbox_kit.drain() == 1


def test_a_handler_is_called_once_with_a_message(outbox_kit: Kit) -> None:
    place(outbox_kit, "tea")
    [message] = outbox_kit.appended("orders")
    assert outbox_kit.run(ship, message).state == "completed"
    assert states(outbox_kit) == {"tea": "shipped"}
    with pytest.raises(UsageError, match="is completed"):
        outbox_kit.run(ship, message)
    assert outbox_kit.drain() == 0


async def test_an_async_handler_is_called_in_the_event_loop_of_the_test(outbox_kit: Kit) -> None:
    threads = []

    async def handle(message: Message, session: AsyncClientSession) -> None:
        threads.append(threading.current_thread())
        assert session.client is client
        await ship_async(message, session)

    place(outbox_kit, "tea")
    [message] = outbox_kit.appended("orders")
    async with outbox_kit.connect() as client:
        assert (await outbox_kit.run(handle, message, client=client)).state == "completed"
        place(outbox_kit, "coffee")
        [worked] = await outbox_kit.work(handle, client=client)
    assert (worked.key, worked.state) == ("coffee", "completed")
    assert states(outbox_kit) == {"tea": "shipped", "coffee": "shipped"}
    assert set(threads) == {threading.current_thread()}


def test_what_a_handler_raises_is_raised_and_nothing_of_it_lasts(outbox_kit: Kit) -> None:
    def breaks(message: Message, session: ClientSession) -> None:
        ship(message, session)
        raise KeyError("no such address")

    place(outbox_kit, "tea")
    [message] = outbox_kit.appended("orders")
    with pytest.raises(KeyError, match="no such address"):
        outbox_kit.run(breaks, message)
    assert (states(outbox_kit), outbox_kit.look(message).state) == ({"tea": "new"}, "pending")


@pytest.mark.parametrize("leaves", [SystemExit(2), KeyboardInterrupt()])
def test_a_handler_that_leaves_the_process_is_no_end_of_the_kit(outbox_kit: Kit, leaves: BaseException) -> None:
    def leave(message: Message, session: ClientSession) -> None:
        raise leaves

    place(outbox_kit, "tea")
    [message] = outbox_kit.appended("orders")
    with pytest.raises(type(leaves)):
        outbox_kit.run(leave, message)
    assert outbox_kit.run(ship, message).state == "completed"


def test_retries_and_death_by_hand_and_without_waiting(outbox_kit: Kit) -> None:
    def breaks(message: Message, session: ClientSession) -> None:
        raise KeyError(f"at attempt {message.attempt}")

    place(outbox_kit, "tea")
    [failed] = outbox_kit.work(breaks, "orders")
    assert (failed.state, failed.attempts) == ("scheduled", 1)
    assert failed.available_at
    # Its backoff is over, and it waits all the same: no test may hang on chance.
    assert (outbox_kit.work(breaks), outbox_kit.drain()) == ([], 0)
    with pytest.raises(UsageError, match="is scheduled"):
        outbox_kit.run(breaks, failed)
    outbox_kit.advance(minutes=10)
    [dead] = outbox_kit.work(breaks)
    assert (dead.state, dead.attempts) == ("dead", 2)
    assert "at attempt 2" in (dead.last_error or "")


def test_a_handler_says_when_it_is_tried_again_or_never(outbox_kit: Kit) -> None:
    def busy(message: Message, session: ClientSession) -> None:
        raise RetryAfter(3600, "closed")

    def refuses(message: Message, session: ClientSession) -> None:
        raise GiveUp("no such address")

    place(outbox_kit, "tea")
    assert [message.state for message in outbox_kit.work(busy)] == ["scheduled"]
    outbox_kit.advance(minutes=59)
    assert outbox_kit.work(busy) == []
    outbox_kit.advance(minutes=2)
    assert [message.state for message in outbox_kit.work(refuses)] == ["dead"]


def test_what_a_handler_appends_is_worked_on_too_and_without_end_it_fails(outbox_kit: Kit) -> None:
    def next_step(message: Message, session: ClientSession) -> None:
        step = int(message.fields["step"])
        if step != 3:
            outbox_kit.outbox.append(session, "orders", {"step": str(step + 1)}, key="tea")

    outbox_kit.append("orders", {"step": "1"}, key="tea")
    assert [message.fields["step"] for message in outbox_kit.work(next_step)] == ["1", "2", "3"]


def test_without_a_session_a_handler_is_called_as_a_worker_calls_it(outbox_kit: Kit) -> None:
    seen = []
    outbox_kit.append("orders", {"item": "tea"}, key="tea")
    [worked] = outbox_kit.work(lambda message: seen.append(message.key))
    assert (seen, worked.state) == (["tea"], "completed")


def test_a_unique_message_is_one_until_its_time_is_over(outbox_kit: Kit) -> None:
    first = outbox_kit.append("orders", {"item": "tea"}, key="tea", unique="tea")
    assert outbox_kit.append("orders", {"item": "tea"}, key="tea", unique="tea").id == first.id
    outbox_kit.work(ship)
    assert outbox_kit.append("orders", {"item": "tea"}, key="tea", unique="tea").id == first.id
    outbox_kit.advance(hours=1)
    assert outbox_kit.append("orders", {"item": "tea"}, key="tea", unique="tea").id != first.id


def test_handlers_by_field_those_that_take_many_and_what_a_lifespan_yields(outbox_kit: Kit) -> None:
    handlers, calls = Handlers("kind", unknown="dead"), list[list[str]]()

    @handlers.on("pack")
    def pack(messages: list[Message], session: ClientSession) -> None:
        calls.append([message.key for message in messages])

    @handlers.on("ship")
    def ship(message: Message, session: ClientSession, resources: str) -> None:
        calls.append([f"{message.key} by {resources}"])

    for key, kind in [("a", "pack"), ("b", "pack"), ("c", "pack"), ("d", "ship"), ("e", "lose")]:
        outbox_kit.append("orders", {"kind": kind}, key=key)
    worked = outbox_kit.work(handlers, resources="post")
    assert {message.key: message.state for message in worked} == dict.fromkeys("abcd", "completed") | {"e": "dead"}
    assert ["d by post"] in calls
    packed = [keys for keys in calls if keys != ["d by post"]]
    assert sorted(key for keys in packed for key in keys) == ["a", "b", "c"]
    assert max(map(len, packed)) > 1


def test_the_servers_of_the_settings_are_never_reached(
    outbox_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://production.example:1/shop")
    monkeypatch.setenv("REDIS_HOST", "production.example")
    kit = outbox_servers.kit(load(OutboxSettings))
    kit.append("file_parsing_queue", {"file_id": "1"}, key="1")
    assert kit.drain() == 1
    assert kit.environment == {
        "MONGODB_URI": outbox_servers.mongod.uri,
        "MONGODB_URI_FILE": "",
        "REDIS_URL": outbox_servers.redis.url,
        "REDIS_URL_FILE": "",
        "MONGODB_DATABASE": "shop",
        "OUTBOX_DATABASE": "",
        "OUTBOX_PREFIX": "outbox",
        "OUTBOX_REDIS_PREFIX": "",
    }
    assert "shop" in kit.client.list_database_names()


def test_a_kit_for_other_streams_begins_as_empty_as_any(outbox_kit: Kit, outbox_servers: Servers) -> None:
    outbox_kit.append("orders", {"item": "tea"}, key="tea")
    more = Streams([*outbox_kit.streams.declared(), Stream("letters", "post")])
    other = outbox_servers.kit(outbox_kit.settings, more)
    assert other.appended("orders") == []
    assert other.drain() == 0


def test_kits_of_two_outboxes_take_turns_on_the_same_servers(outbox_kit: Kit, outbox_servers: Servers) -> None:
    elsewhere = outbox_kit.settings.model_copy(update={"outbox_database": "elsewhere"})
    for settings in (elsewhere, outbox_kit.settings, elsewhere):
        kit = outbox_servers.kit(settings, outbox_kit.streams)
        kit.append("orders", {"item": "tea"}, key="tea")
        assert kit.drain() == 1


def test_a_stream_that_a_test_has_paused_is_not_paused_for_the_next_one(outbox_kit: Kit) -> None:
    streams = outbox_kit.client[outbox_kit.settings.outbox_database or SHOP].outbox_streams
    registered = list(streams.find())
    streams.update_many({}, {"$set": {"paused": {"who": "anna"}}})
    outbox_kit.reset()
    assert list(streams.find()) == registered


def test_indexes_of_the_application_outlast_a_test(outbox_kit: Kit) -> None:
    orders: Any = outbox_kit.client[SHOP].orders
    orders.create_index("state", name="mine")
    outbox_kit.reset()
    assert "mine" in orders.index_information()


def test_collections_of_every_kind_are_emptied(outbox_kit: Kit) -> None:
    """Also time series, and those whose names begin as MongoDB's own do."""
    shop: Any = outbox_kit.client[SHOP]
    names = ["systems", "system_log", "measured", "last"]
    shop.create_collection("measured", timeseries={"timeField": "at", "metaField": "of"})
    shop.create_collection("last", capped=True, size=4096)
    shop.create_collection("view", viewOn="systems", pipeline=[])
    for name in names:
        shop[name].insert_one({"at": datetime.now(UTC), "of": "tea"})
    outbox_kit.reset()
    assert [shop[name].count_documents({}) for name in names] == [0] * 4
    for name in ("view", *names):
        shop.drop_collection(name)
