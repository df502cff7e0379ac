"""The API without the outbox, `python -m outbox.bench.without`: all is as it is, but `append` writes nothing."""

from __future__ import annotations

from typing import Any

from bson import ObjectId

from outbox.append import Outbox
from outbox.cli import main


async def _nothing(*_: Any, **__: Any) -> ObjectId:
    return ObjectId()


if __name__ == "__main__":
    Outbox.append = _nothing  # type: ignore[method-assign,assignment]
    main(["api"])
