"""A message's fields in FastStream's own format, which its Redis subscribers read without a decoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

DATA = "__data__"
"""The one field of an entry in which FastStream looks for a body with its headers."""


def encode(body: Any, *, headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """The fields to append: `outbox.append(session, "orders", encode(order), key=...)`.

    A text is sent as it is, anything else as JSON: a pydantic model, a dataclass, a dict, a list. FastStream's binary
    format is not text, and so cannot be a field; this is its older one, JSON, which all its versions read.

    :param headers: for FastStream's `Header`, beside the `content-type`.
    :raises TypeError, ValueError: `body` is bytes, or cannot be JSON.
    """
    if isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"{type(body).__name__} cannot be a field, which is text: pass a text, or what JSON can say")
    kind = "text/plain" if isinstance(body, str) else "application/json"
    data = body if isinstance(body, str) else to_json(body).decode()
    envelope = {"data": data, "headers": {"content-type": kind, **(headers or {})}}
    return {DATA: json.dumps(envelope, ensure_ascii=False)}
