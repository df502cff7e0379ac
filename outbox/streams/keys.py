"""Keys in Redis: of a stream, and of what a relay keeps beside it, in the same slot of a cluster."""

from __future__ import annotations

import re
from collections.abc import Collection

from outbox.errors import SettingsError


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


def refuse_shared_keys(streams: Collection[str]) -> None:
    """Raise SettingsError when two of these streams would write to one key: `a` and `{a}`, or `a` and `{a}:outbox:0`.

    Each would take the other's checkpoint for a loss, and nothing of either would be published.
    """
    owners: dict[str, str] = {}
    for stream in streams:
        _refuse(owners.setdefault(_tagged(stream), stream), stream)
    for stream in streams:
        tag, beside, _ = stream.rpartition(":outbox:")
        _refuse(owners.get(tag, stream) if beside else stream, stream)


def _refuse(one: str, other: str) -> None:
    if one != other:
        raise SettingsError(f"streams {one!r} and {other!r} would share keys in Redis: give one of them another name")


def _tagged(stream: str) -> str:
    return stream if "{" in stream else f"{{{stream}}}"
