"""Encoding: messages as arguments of a script."""

from __future__ import annotations

import json
from collections.abc import Sequence

from outbox.message.document import Message

LARGE = 1000
"""A longer word is sent beside the JSON, as it is: to write it there and to read it again in Redis takes several times
as long as all else that is done with it. For short ones it is the other way round."""


def as_arguments(messages: Sequence[Message]) -> tuple[str, list[str]]:
    """The entries as publish.lua reads them: as JSON, in which numbers stand for long words, and those words."""
    entries: list[list[str | int]] = []
    large: list[str] = []
    for message in messages:
        words: list[str | int] = [*message.entry()]
        if message.size > LARGE:
            for i, word in enumerate(words):
                if isinstance(word, str) and len(word) > LARGE:
                    large.append(word)
                    words[i] = len(large)
        entries.append(words)
    return json.dumps(entries, ensure_ascii=False, separators=(",", ":")), large
