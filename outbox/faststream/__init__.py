"""FastStream applications with this library's completion: a handler's writes and its message's outcome together.

    broker = RedisBroker(settings.redis_dsn)
    app = FastStream(broker)
    worker = OutboxWorker(broker, settings)

    @worker.subscriber("orders")
    async def ship(order: Order, session: Session) -> None:
        await session.client.shop.orders.update_one({"_id": order.id}, {"$set": {...}}, session=session)

`encode` needs no FastStream, so that whoever appends can do so without it. See docs/faststream.md.
"""

from typing import TYPE_CHECKING, Any

from outbox.faststream.encoding import encode

if TYPE_CHECKING:
    from outbox.faststream.context import CurrentMessage, Session
    from outbox.faststream.worker import OutboxWorker

__all__ = ["CurrentMessage", "OutboxWorker", "Session", "encode"]


def __getattr__(name: str) -> Any:
    """What needs FastStream is imported when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from outbox.faststream import context, worker

    return getattr(worker if name == "OutboxWorker" else context, name)
