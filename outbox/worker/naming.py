"""What a consumer is called in its groups."""

from __future__ import annotations

import os
import secrets
import socket

from outbox.delivery.entries import OURS
from outbox.errors import UsageError
from outbox.printable import printable


def new_name(name: str | None = None) -> str:
    """The name of a consumer of this library's in its groups; without one, a name that no other has.

    :raises UsageError: it is no text that MongoDB and Redis can take.
    """
    try:
        (name or "").encode()
    except UnicodeEncodeError:
        raise UsageError(f"the consumer's name '{printable(name or '')}' is no UTF-8: choose another one") from None
    host = printable(socket.gethostname())
    return OURS + (name or f"{host}-{os.getpid()}-{secrets.token_hex(2)}").removeprefix(OURS)
