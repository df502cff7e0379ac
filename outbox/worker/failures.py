"""How a handler says that it did not do its work. Any other exception means: try again, after the stream's backoff."""

from __future__ import annotations

import math
import traceback

from outbox.errors import OutboxError
from outbox.message.poison import MAX_REASON
from outbox.printable import printable

LEFT_ALONE_SECONDS = 60.0
MAX_IN_GROUP = 300
"""Letters of each error in a group."""


class RetryAfter(OutboxError):
    """Try again in `seconds`, instead of the stream's backoff. A try like any other: after the last one, it is dead.
    See Snooze for one that costs none.

    At most attempts.MAX_WAIT_SECONDS (a year) count, and less than 0 is 0. What is no number is refused by a ValueError
    or TypeError, which is then the handler's failure.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        seconds = float(seconds)
        if math.isnan(seconds):
            raise ValueError("RetryAfter(nan): say in how many seconds to try again")
        super().__init__(reason or f"to be tried again after {seconds:g} s")
        self.seconds = max(0.0, seconds)


class Snooze(RetryAfter):
    """Try again in `seconds`, at no try's cost: nothing has failed, what the message needs is not there yet.

    :param most: how often a message may be snoozed, since it was appended, retried or replayed; after that it is dead.
    """

    def __init__(self, seconds: float, reason: str = "", *, most: int = 100) -> None:
        super().__init__(seconds, reason or f"snoozed for {float(seconds):g} s")
        self.most = most


class LeftAlone(Snooze):
    """No handler of this worker is for the message: it is put back for a worker that has one, however often."""

    def __init__(self, reason: str) -> None:
        super().__init__(LEFT_ALONE_SECONDS, reason)


class GiveUp(OutboxError):
    """Trying again will not help: the message is dead at once, for this reason."""


class Unsettled(OutboxError):
    """A handler returned, and its message's subject still waits for a result, with no other message on its way."""


class TooManyLeft(OutboxError):
    """So many handlers did not end at their time limit that the process must be started again to be rid of them."""

    def __init__(self, left: int) -> None:
        super().__init__(
            f"{left} handlers have not ended when their time was up: this process must be started again to be rid of "
            "them; their messages have failed, see `outbox dead list` and the log"
        )


class Failed(Exception):
    """A handler's exception, apart from those of the servers around it."""

    def __init__(self, error: BaseException) -> None:
        self.error = only_one(error)
        super().__init__(headline(self.error))


def only_one(error: BaseException) -> BaseException:
    """What a TaskGroup raises for one of its tasks is that task's error."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def headline(error: BaseException) -> str:
    """The error in one line that every reader can show: what a file's `parsing` shows. Raises nothing."""
    text = _text(error)
    if isinstance(error, BaseExceptionGroup):
        each = [f"{type(one).__name__}: {_text(one)}"[:MAX_IN_GROUP] for one in error.exceptions[:10]]
        text = f"{text[:MAX_IN_GROUP]}: {'; '.join(each)}"[:MAX_REASON]
    return text or type(error).__name__


def _text(error: BaseException) -> str:
    try:
        text = str(error)[:MAX_REASON]
    except BaseException as unspeakable:  # noqa: BLE001  # a handler's code, which may raise anything
        text = f"its text cannot be read: its __str__ raised {type(unspeakable).__name__}"
    return printable(" ".join(text.split()))


def summary(error: BaseException) -> str:
    """The error, then where it was raised, the innermost calls last: what `outbox dead show` shows. Raises nothing."""
    text = f"{type(error).__name__}: {headline(error)}"
    # The innermost ones only: of a recursion without end there are thousands.
    where = printable("".join(traceback.format_tb(error.__traceback__, limit=-6)).rstrip(), keep_lines=True)
    if not where:
        return text[:MAX_REASON]
    text = text[: MAX_REASON // 2]
    return f"{text}\n{where[-(MAX_REASON - len(text) - 1) :]}"


def wait_seconds(error: BaseException) -> float | None:
    """How long the handler asked to wait; None: it did not, or in a way that is no time."""
    return _number(error, "seconds") if isinstance(error, RetryAfter) else None


def most_snoozes(error: BaseException) -> float | None:
    """How often the handler lets its message be snoozed; None: it did not, or in a way that is no number."""
    return _number(error, "most") if isinstance(error, Snooze) else None


def _number(error: BaseException, name: str) -> float | None:
    try:
        value = float(getattr(error, name))
    except Exception:  # noqa: BLE001  # of a handler's class, which may have no such attribute, or any
        return None
    return None if math.isnan(value) else value
