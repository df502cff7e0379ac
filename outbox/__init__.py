"""A transactional outbox: messages written in the transaction of the data they speak of.

>>> outbox = Outbox(streams)
>>> async def upload(session):
...     await files.insert_one({...}, session=session)
...     await outbox.append(session, "file_parsing_queue", {"file_id": id}, key=id)
>>> await session.with_transaction(upload)

A relay drains what was appended into Redis Streams. This package imports neither the relay nor the API.
"""

from outbox.append import Outbox
from outbox.draft import Draft
from outbox.errors import (
    CommitUnknown,
    InvalidMessage,
    NoSuchMessage,
    NoSuchPriority,
    NoSuchRecord,
    NotDead,
    NotOurs,
    NoTransaction,
    OutboxError,
    SchemaError,
    SettingsError,
    UndeclaredStream,
    Unreachable,
    UsageError,
    WrongDeclaration,
)
from outbox.message.document import Message, State
from outbox.streams.declaration import Priority, Retry, Stream, Streams, Subject

__all__ = [
    "CommitUnknown",
    "Draft",
    "InvalidMessage",
    "Message",
    "NoSuchMessage",
    "NoSuchPriority",
    "NoSuchRecord",
    "NoTransaction",
    "NotDead",
    "NotOurs",
    "Outbox",
    "OutboxError",
    "Priority",
    "Retry",
    "SchemaError",
    "SettingsError",
    "State",
    "Stream",
    "Streams",
    "Subject",
    "UndeclaredStream",
    "Unreachable",
    "UsageError",
    "WrongDeclaration",
]
