"""Messages that nobody waits for any more are completed before they are sent."""

from __future__ import annotations

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.database import OUTBOX
from outbox.message import transitions
from outbox.message.document import State
from outbox.message.poison import FULL
from outbox.operations import audit
from outbox.operations.verify.findings import System
from outbox.servers import transaction

MAX_TOLD = 100
"""How many messages the audit names of one call; it counts all."""


async def complete_unsent(system: System, ids: list[ObjectId]) -> int:
    """Complete messages that are not sent yet, in one transaction with its record; returns how many.

    Not those without room for the change: one of them, and MongoDB refuses it for all.
    """
    messages = system.database[OUTBOX]
    with_room = {"_id": {"$in": ids}, "$expr": {"$not": [FULL]}}
    ids = [each["_id"] async for each in messages.find(with_room, {"_id": 1})]
    if not ids:
        return 0

    async def body(session: AsyncClientSession) -> int:
        result = await messages.update_many(*transitions.complete_unsent(ids), session=session)
        told = {"messages": ids[:MAX_TOLD]}
        await audit.record(
            system.database, who=audit.me(), action="complete unsent", count=result.modified_count, details=told,
            session=session,
        )  # fmt: skip
        return result.modified_count

    async def happened() -> bool:
        # A write first: it waits for a transaction that is still under way on this message.
        found = await messages.find_one_and_update({"_id": ids[0]}, {"$currentDate": {"asked_at": True}})
        return found is not None and found.get("state") == State.COMPLETED.value

    return await transaction.run(system.database.client, body, happened=happened)
