"""A hook of schemathesis: every generated upload is one of its own."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import schemathesis


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Another upload under a key that was used is refused, rightly; a schema cannot say so."""
    key = (case.headers or {}).get("Idempotency-Key")
    if key and isinstance(key, str) and key.isascii() and key.isprintable() and " " not in key and len(key) < 200:
        case.headers["Idempotency-Key"] = f"{key}{uuid4().hex}"
