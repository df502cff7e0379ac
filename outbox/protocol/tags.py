"""Tags: each batch has one that nobody has drawn before, and names those of the batches that may not be marked yet."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from outbox.protocol.leases import Progress

LETTERS = 16


def new_tag() -> str:
    """A word that nobody has drawn before."""
    return secrets.token_hex(LETTERS // 2)


def read_tags(previous: str) -> tuple[str, ...]:
    """A checkpoint's field `previous`. Versions that knew of one batch only had tags of other lengths."""
    return (previous,) if len(previous) % LETTERS else tuple(re.findall(f".{{{LETTERS}}}", previous))


def follows(batch: int, previous: Sequence[str], known: Progress) -> bool:
    """Whether a checkpoint at `batch`, whose batches follow the tags `previous`, names all that came after `known`."""
    back = batch - known.batch
    return 0 < back <= len(previous) and previous[-back] == known.tag
