from collections.abc import AsyncIterator

import pytest
from faststream.redis import RedisBroker, TestRedisBroker
from parcels import Parcel, broker, pack, worker

from outbox.testing import Kit

pytestmark = pytest.mark.anyio


@pytest.fixture
async def app(outbox_kit: Kit, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisBroker]:
    """FastStream's own test broker; sessions are of the servers of the tests."""
    monkeypatch.setattr(worker, "settings", outbox_kit.settings)
    outbox_kit.client.depot.stock.insert_one({"_id": "tea", "amount": 5})
    async with TestRedisBroker(broker) as app:
        yield app


def stock(kit: Kit) -> int:
    return kit.client.depot.stock.find_one({"_id": "tea"})["amount"]


async def test_the_handler_alone(app: RedisBroker, outbox_kit: Kit) -> None:
    await app.publish(Parcel(item="tea", amount=2), stream="parcels")
    pack.mock.assert_called_once_with({"item": "tea", "amount": 2})
    assert stock(outbox_kit) == 3
    [label] = outbox_kit.appended("labels")
    assert label.fields == {"text": "2 x tea"}


@pytest.mark.usefixtures("app")
async def test_a_message_from_its_transaction_to_its_completion(outbox_kit: Kit) -> None:
    outbox_kit.append("parcels", {"item": "tea", "amount": "2"}, key="tea")
    [message] = await outbox_kit.work(worker.handle, "parcels")
    assert message.state == "completed"
    assert stock(outbox_kit) == 3


@pytest.mark.usefixtures("app")
async def test_what_is_not_in_stock_waits(outbox_kit: Kit) -> None:
    outbox_kit.append("parcels", {"item": "tea", "amount": "6"}, key="tea")
    [message] = await outbox_kit.work(worker.handle, "parcels")
    assert (message.state, stock(outbox_kit), outbox_kit.appended("labels")) == ("scheduled", 5, [])
    outbox_kit.client.depot.stock.update_one({"_id": "tea"}, {"$set": {"amount": 6}})
    outbox_kit.advance(minutes=10)
    [message] = await outbox_kit.work(worker.handle, "parcels")
    assert (message.state, stock(outbox_kit)) == ("completed", 0)
