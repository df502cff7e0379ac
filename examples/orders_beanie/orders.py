"""Orders, with FastAPI and Beanie.

export MONGODB_DATABASE=shop OUTBOX_STREAMS='[{"name": "orders", "group": "confirmations"}]'
outbox init && outbox relay &
uvicorn --factory orders:create_app &
outbox worker --handler orders:confirm --lifespan orders:beanie --stream orders
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from beanie import Document, PydanticObjectId, init_beanie
from fastapi import FastAPI
from pydantic import BaseModel, PositiveInt
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox import Outbox, Stream, Streams
from outbox.settings import OutboxSettings, load
from outbox.worker import GiveUp, Message

STREAMS = Streams([Stream("orders", "confirmations")])
outbox = Outbox(STREAMS, database="shop")


class Draft(BaseModel):
    item: str
    amount: PositiveInt


class Order(Document):
    item: str
    amount: int
    state: str = "placed"

    class Settings:
        name = "orders"


@asynccontextmanager
async def beanie(client: AsyncMongoClient) -> AsyncIterator[None]:
    """The lifespan of the worker, and part of the service's: models belong to the client that sessions are of."""
    await init_beanie(client.shop, document_models=[Order])
    yield


async def place(client: AsyncMongoClient, draft: Draft) -> Order:
    """Write the order and its message: both, or neither."""

    async def write(session: AsyncClientSession) -> Order:
        order = await Order(**draft.model_dump()).insert(session=session)
        await outbox.append(session, "orders", {"order_id": str(order.id)}, key=str(order.id))
        return order

    async with client.start_session() as session:
        return await session.with_transaction(write)


async def confirm(message: Message, session: AsyncClientSession) -> None:
    """The handler: takes effect once for each order, with the completion of its message."""
    order = await Order.get(PydanticObjectId(message.fields["order_id"]), session=session)
    if order is None:
        raise GiveUp("there is no such order")
    await order.set({Order.state: "confirmed"}, session=session)


def create_app(settings: OutboxSettings | None = None) -> FastAPI:
    uri = (settings or load(OutboxSettings)).mongodb_uri.get_secret_value()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncMongoClient(uri) as client, beanie(client):
            await outbox.register(client)
            app.state.client = client
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/orders", status_code=201)
    async def create(draft: Draft) -> dict[str, str]:
        order = await place(app.state.client, draft)
        return {"id": str(order.id)}

    return app
