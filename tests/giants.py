"""Messages that others have made so large that MongoDB refuses whatever would be added to them."""

from __future__ import annotations

from typing import Any

from bson import encode
from pymongo.asynchronous.collection import AsyncCollection

from outbox.database import Document
from tests.faults.poison import LIMIT


def filled_up(message: Document, room: int = 4) -> Document:
    """The same message, to which no more than `room` bytes can be added."""
    grown = {**message, "junk": ""}
    grown["junk"] = "x" * (LIMIT - room - len(encode(grown)))
    return grown


async def fill_up(messages: AsyncCollection[Document], id_: Any) -> None:
    """Let a stored message have no room for a change."""
    message = await messages.find_one({"_id": id_})
    assert message
    await messages.replace_one({"_id": id_}, filled_up(message), bypass_document_validation=True)
