"""What a handler can ask for beside the body, as with any other of FastStream's `Context`."""

from __future__ import annotations

from typing import Annotated

from faststream import Context
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.worker.message import Message

SESSION, MESSAGE = "outbox_session", "outbox_message"

Session = Annotated[AsyncClientSession, Context(SESSION)]
"""The session whose transaction the message is completed in. What is written through it takes effect exactly once."""

CurrentMessage = Annotated[Message, Context(MESSAGE)]
"""The message as this library's own handlers get it: id, key, attempt, headers."""
