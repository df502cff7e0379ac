"""Lua scripts: each is one unit in Redis, in its append-only file, in replication and in a failover."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, cast

from redis.exceptions import NoScriptError

from outbox.protocol.confirmation import Confirm
from outbox.servers.topology import AnyRedis


class Script:
    """A Lua script, sent by its digest, and whole when the server does not know it (nothing was run then)."""

    def __init__(self, name: str) -> None:
        folder = files(__package__) / "lua"
        self._text = (folder / "stream.lua").read_text() + (folder / f"{name}.lua").read_text()
        self._digest = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(
        self, redis: AnyRedis, keys: Sequence[str], args: Sequence[str | int], confirm: Confirm = Confirm.NONE
    ) -> list[Any]:
        operands = (len(keys), *keys, *args)
        try:
            return cast(list[Any], await confirm.run(redis, keys[0], ("EVALSHA", self._digest, *operands)))
        except NoScriptError:
            return cast(list[Any], await confirm.run(redis, keys[0], ("EVAL", self._text, *operands)))
