"""Two callers of an API with keys, and its settings."""

from __future__ import annotations

from outbox.web import keys
from outbox.web.keys import Scope

ALICE, ALICES = keys.make("alice", [Scope.READ, Scope.OPERATE, Scope.UPLOAD])
BOB, BOBS = keys.make("bob", [Scope.READ, Scope.OPERATE, Scope.UPLOAD])
SHARED = {"api_keys": ALICES.line, "api_session_secret": "s" * 32}
PROCESS = {"OUTBOX_API_KEYS": ALICES.line, "OUTBOX_API_SESSION_SECRET": "s" * 32}


def bearer(secret: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}", **more}
