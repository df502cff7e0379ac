"""A worker's half of the promise: each message's writes are applied exactly once.

async def handle(message: Message, session) -> None:
    await session.client["outbox"]["files"].update_one(…, session=session)

await Consumer(load(OutboxSettings), handle).run()
"""

from outbox.worker.consumer import Consumer
from outbox.worker.failures import GiveUp, RetryAfter, Snooze, TooManyLeft
from outbox.worker.hand import TimeUp
from outbox.worker.handlers import Handlers
from outbox.worker.message import Message

__all__ = ["Consumer", "GiveUp", "Handlers", "Message", "RetryAfter", "Snooze", "TimeUp", "TooManyLeft"]
