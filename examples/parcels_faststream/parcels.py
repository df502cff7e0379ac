"""Parcels, with FastStream: what the shop appended to `parcels` is packed, exactly once.

export MONGODB_DATABASE=depot
export OUTBOX_STREAMS='[{"name": "parcels", "group": "packers"}, {"name": "labels", "group": "printers"}]'
outbox init && outbox relay &
faststream run parcels:app
"""

from faststream import FastStream
from faststream.redis import RedisBroker
from pydantic import BaseModel, PositiveInt

from outbox import Outbox, Stream, Streams
from outbox.faststream import OutboxWorker, Session
from outbox.settings import OutboxSettings, load
from outbox.worker import RetryAfter

STREAMS = Streams([Stream("parcels", "packers"), Stream("labels", "printers")])
outbox = Outbox(STREAMS, database="depot")

broker = RedisBroker(load(OutboxSettings).redis_dsn)
app = FastStream(broker)
worker = OutboxWorker(broker)


class Parcel(BaseModel):
    """The fields of a message are texts, and pydantic reads them."""

    item: str
    amount: PositiveInt


@worker.subscriber("parcels")
async def pack(parcel: Parcel, session: Session) -> None:
    """The stock, the label's message and the completion of this one are one transaction."""
    where, less = {"_id": parcel.item, "amount": {"$gte": parcel.amount}}, {"$inc": {"amount": -parcel.amount}}
    taken = await session.client.depot.stock.update_one(where, less, session=session)
    if not taken.modified_count:
        raise RetryAfter(600, f"not enough {parcel.item} in stock")
    await outbox.append(session, "labels", {"text": f"{parcel.amount} x {parcel.item}"}, key=parcel.item)
