"""What the workers of a soak do. `outbox worker --handler tests.soak.handlers:handle`"""

from __future__ import annotations

import os

from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.worker import Message

DATABASE = os.environ.get("MONGODB_DATABASE", "outbox")


async def handle(message: Message, session: AsyncClientSession) -> None:
    """Leave an effect that can be left only once."""
    await session.client[DATABASE].effects.insert_one({"_id": int(message.fields["number"])}, session=session)
