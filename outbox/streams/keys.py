"""Keys in Redis: of a stream, and of what a relay keeps beside it, in the same slot of a cluster."""

from __future__ import annotations

import re


def check_key_prefix(prefix: str) -> str:
    """`prefix`, if keys in Redis can begin with it. Raises ValueError.

    Without braces: it is a part of the hash tag, so that a stream and all that belongs to it stay in one slot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.:/-]{0,64}", prefix):
        raise ValueError(f"{prefix!r:.80} cannot begin a key in Redis: use at most 64 letters, digits and _ . : / -")
    return prefix


def checkpoint_key(stream: str, number: int) -> str:
    """The Redis key of a partition's checkpoint, in the same cluster slot as the stream.

    A stream without a hash tag becomes the tag, so that its own key stays as existing workers know it.
    """
    return f"{_tagged(stream)}:outbox:{number}"


def record_key(stream: str) -> str:
    """The Redis key of what all partitions of a stream know of it together, in the same cluster slot."""
    return f"{_tagged(stream)}:outbox:stream"


def _tagged(stream: str) -> str:
    return stream if "{" in stream else f"{{{stream}}}"
