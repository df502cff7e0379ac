"""What today's workers do with the messages of the version before: as `record.py` has it."""

from __future__ import annotations

import os
from typing import Any

from bson import ObjectId

from outbox.worker import Message


async def handle(message: Message, session: Any) -> None:
    database = session.client[os.environ["MONGODB_DATABASE"]]
    await database.handled.insert_one({"message": message.id, "key": message.key}, session=session)
    if message.stream == "file_parsing_queue":
        change = {"$set": {"parsing": "parsed"}}
        await database.files.update_one({"_id": ObjectId(message.key)}, change, session=session)
