"""Whatever text an exception holds: it is stored and shown in a form that everything can take."""

from __future__ import annotations

import json
from typing import Any

from bson import encode
from hypothesis import given
from hypothesis import strategies as st

from outbox import Subject
from outbox.message.poison import MAX_REASON
from outbox.worker.failures import GiveUp, RetryAfter, headline, summary, wait_seconds
from tests.strategies import examples, jsons, texts


class Odd(Exception):
    """Its text is whatever it was given, or raises it."""

    def __str__(self) -> Any:
        value = self.args[0] if self.args else ""
        if isinstance(value, BaseException):
            raise value
        return value


KINDS = (ValueError, KeyError, OSError, UnicodeError, KeyboardInterrupt, Odd, GiveUp, BaseException)
arguments = st.lists(texts() | jsons(), max_size=3).map(tuple)
errors = st.builds(lambda kind, args, note: _noted(kind(*args), note), st.sampled_from(KINDS), arguments, texts())


def _noted(error: BaseException, note: str) -> BaseException:
    error.add_note(note)
    return error


@given(error=errors | errors.map(Odd))
@examples(200)
def test_every_error_has_words(error: BaseException) -> None:
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001
        for text in (headline(raised), summary(raised)):
            assert len(text) <= MAX_REASON * 8
            assert text.replace("\n", "").isprintable()
            encode({"last_error": text})
            json.dumps(text, ensure_ascii=False).encode()
        failed = Subject().failed(headline(raised))
        encode(failed)


@given(seconds=jsons(), reason=texts())
@examples(50)
def test_every_wait_is_a_time_or_refused(seconds: Any, reason: str) -> None:
    try:
        error = RetryAfter(seconds, reason)
    except (ValueError, TypeError, OverflowError):
        return
    waits = wait_seconds(error)
    assert waits is None or waits >= 0
    assert headline(error)
