from collections.abc import AsyncIterator

import pytest
from beanie import PydanticObjectId
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from orders import Draft, Order, confirm, create_app, place
from pymongo import AsyncMongoClient

from outbox.testing import Kit
from outbox.worker import GiveUp


@pytest.fixture
async def app(outbox_kit: Kit) -> AsyncIterator[FastAPI]:
    """The service, with its lifespan."""
    app = create_app(outbox_kit.settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(transport=ASGITransport(app), base_url="http://shop") as http:
        yield http


@pytest.fixture
def mongo(app: FastAPI) -> AsyncMongoClient:
    """The client that Beanie was started with: a session that Beanie is given must be one of this client."""
    return app.state.client


async def test_an_order_and_its_message_are_written_together(http: AsyncClient, outbox_kit: Kit) -> None:
    reply = await http.post("/orders", json={"item": "tea", "amount": 2})
    assert reply.status_code == 201
    order = await Order.get(PydanticObjectId(reply.json()["id"]))
    [message] = outbox_kit.appended("orders", key=reply.json()["id"])
    assert (order.item, order.state) == ("tea", "placed")
    assert message.fields == {"order_id": str(order.id)}


async def test_what_is_refused_leaves_neither(http: AsyncClient, outbox_kit: Kit) -> None:
    assert (await http.post("/orders", json={"item": "tea", "amount": 0})).status_code == 422
    assert await Order.count() == 0
    assert outbox_kit.appended("orders") == []


async def test_an_order_is_confirmed(mongo: AsyncMongoClient, outbox_kit: Kit) -> None:
    order = await place(mongo, Draft(item="tea", amount=2))
    [message] = await outbox_kit.work(confirm, client=mongo)
    assert message.state == "completed"
    assert (await Order.get(order.id)).state == "confirmed"


async def test_a_message_about_an_order_that_is_gone_is_dead(mongo: AsyncMongoClient, outbox_kit: Kit) -> None:
    order = await place(mongo, Draft(item="tea", amount=2))
    await order.delete()
    [message] = outbox_kit.appended("orders")
    with pytest.raises(GiveUp, match="no such order"):
        await outbox_kit.run(confirm, message, client=mongo)
    [message] = await outbox_kit.work(confirm, client=mongo)
    assert (message.state, "no such order" in message.last_error) == ("dead", True)
