"""How a handler says that it did not do its work. Any other exception means: try again, after the stream's backoff."""

from __future__ import annotations

import traceback

from outbox.burial import MAX_REASON
from outbox.errors import OutboxError


class RetryAfter(OutboxError):
    """Try again in `seconds`, instead of the stream's backoff. A try like any other: after the last one, it is dead."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"to be tried again after {seconds:g} s")
        self.seconds = max(0.0, seconds)


class GiveUp(OutboxError):
    """Trying again will not help: the message is dead at once, for this reason."""


class Unsettled(OutboxError):
    """A handler returned, and its message's subject still waits for a result, with no other message on its way."""


class Failed(Exception):
    """A handler's exception, apart from those of the servers around it."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def headline(error: BaseException) -> str:
    """The error in one line: what a file's `parsing` shows."""
    return " ".join(str(error).split()) or type(error).__name__


def summary(error: BaseException) -> str:
    """The error, then where it was raised, the innermost calls last: what `outbox dead show` shows."""
    text = f"{type(error).__name__}: {headline(error)}"
    where = "".join(traceback.format_tb(error.__traceback__)[-6:]).rstrip()
    if not where:
        return text[:MAX_REASON]
    text = text[: MAX_REASON // 2]
    return f"{text}\n{where[-(MAX_REASON - len(text) - 1) :]}"
