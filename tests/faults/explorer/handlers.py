"""What the explorer's own workers do with a message: as its field `mood` says, after an effect that lasts only if the
handler ends well. `outbox worker --handler tests.faults.explorer.handlers:handle`"""

from __future__ import annotations

import asyncio
import os
import signal

from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.worker import GiveUp, Message, RetryAfter, Snooze
from tests.faults.explorer.payloads import contents

DATABASE = os.environ.get("MONGODB_DATABASE", "outbox")
MOODS = {"fine": 80, "slow": 5, "fails": 5, "comes later": 3, "snoozes": 3, "endless": 2, "gives up": 2, "kills": 1}
"""How often each is chosen. All but the hopeless one are fine from their second try on."""
HOPELESS = "gives up"


async def handle(message: Message, session: AsyncClientSession) -> None:
    database = session.client[DATABASE]
    effect = {"message": message.id, "attempt": message.attempt, "contents": contents(message.fields)}
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
