"""What the explorer's own workers do with a message: as its field `mood` says, after an effect that lasts only if the
handler ends well. `outbox worker --handler tests.faults.explorer.handlers:handle`"""

from __future__ import annotations

import asyncio
import os
import signal
import time

from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.worker import GiveUp, Message, RetryAfter, Snooze
from tests.faults.explorer.payloads import contents

DATABASE = os.environ.get("MONGODB_DATABASE", "outbox")
MOODS = {
    "fine": 80, "slow": 5, "fails": 5, "comes later": 3, "snoozes": 3, "endless": 2, "gives up": 2, "kills": 1,
    "holds its process": 1,
}  # fmt: skip
"""How often each is chosen. All but the hopeless one are fine from their second try on."""
ENDS = {"kills each time": 3, "never lets go": 1}
"""The same of what ends its process each time: at once, or as nothing else in it can run any more."""
HOPELESS = {"gives up", *ENDS}

HELD_SECONDS = 4.0
"""Longer than a worker may be silent, and shorter than a handler may take."""

_in_hand: set[str] = set()
"""The messages whose handlers are at work in this process."""


async def handle(message: Message, session: AsyncClientSession) -> None:
    _in_hand.add(str(message.id))
    try:
        await _handle(message, session)
    finally:
        _in_hand.discard(str(message.id))


async def _handle(message: Message, session: AsyncClientSession) -> None:
    database = session.client[DATABASE]
    effect = {"message": message.id, "stream": message.stream, "contents": contents(message.fields)}
    await database.effects.insert_one(effect, session=session)
    if message.subject_id is not None and "foreign" not in message.fields:
        done = await database.work.update_one({"_id": message.subject_id}, {"$set": {"state": "done"}}, session=session)
        if done.matched_count != 1:
            raise AssertionError(f"the subject {message.subject_id!r} is not there")
    mood, first = message.fields.get("mood"), message.attempt == 1
    match mood:
        case "gives up":
            raise GiveUp("it will never do")
        case "slow":
            await asyncio.sleep(1)
        case "fails" if first:
            raise ValueError("not at the first attempt")
        case "comes later" if first:
            raise RetryAfter(0.3)
        case "snoozes" if first:
            raise Snooze(0.3)
        case "endless" if first:
            await asyncio.sleep(3600)
        case "kills":
            # An attempt that is taken over is the same one.
            if not await database.killed.find_one_and_update({"_id": message.id}, {"$inc": {"times": 1}}, upsert=True):
                os.kill(os.getpid(), signal.SIGKILL)
        case "holds its process":
            await _record(message, session)
            time.sleep(HELD_SECONDS)
        case "kills each time":
            await _record(message, session)
            os.kill(os.getpid(), signal.SIGKILL)
        case "never lets go":
            await _record(message, session)
            time.sleep(3600)


async def _record(message: Message, session: AsyncClientSession) -> None:
    """That it was called, and beside whom: outside of the transaction, of which nothing may last."""
    beside = sorted(_in_hand - {str(message.id)})
    await session.client[DATABASE].calls.insert_one({"message": message.id, "stream": message.stream, "beside": beside})
