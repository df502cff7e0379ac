"""`outbox relay`, which records each request of the protocol: a line before it is sent, and one when it is answered.

Several may write into one file, whose order is then one in which it can have happened.

python -m tests.conformance.recorded FILE [--port 0]
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from outbox.cli import main
from outbox.errors import LookAgain
from outbox.protocol.checkpoint import Checkpoints, Fenced, Gap
from outbox.protocol.leases import LeaseLost, Leases
from outbox.protocol.losses import Losses
from outbox.protocol.store import Fetched, Store
from outbox_relay import ahead
from tests.conformance import mapping

CLASSES = {"leases": Leases, "store": Store, "losses": Losses, "checkpoints": Checkpoints}
CALLS = {**mapping.GATED, **mapping.RECORDED}


class Recorder:
    """One writer of the file. `token`: the latest that it has had."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._numbers = count()
        self.token = 0

    def sent(self, call: str, **about: Any) -> str:
        id_ = f"{os.getpid()}-{next(self._numbers)}"
        self._write(id=id_, call=call, **about)
        return id_

    def answered(self, id_: str, **about: Any) -> None:
        self._write(id=id_, **about)

    def _write(self, **line: Any) -> None:
        os.write(self._file, json.dumps(line, default=str).encode() + b"\n")

    def record(self, name: str) -> None:
        """Every call of this method of the product from now on."""
        class_, condition = CLASSES[name.partition(".")[0]], CALLS[name]
        method = getattr(class_, name.partition(".")[2])
        signature = inspect.signature(method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs).arguments
            if condition and not condition(bound):
                return await method(*args, **kwargs)
            id_ = self.sent(name, **self._asked(name, bound))
            try:
                answer = await method(*args, **kwargs)
            except BaseException as error:
                self.answered(id_, outcome=_failure(error))
                raise
            self.token = self.token if name not in ("leases.acquire", "leases.begin_anew") else _token(answer)
            self.answered(id_, **_said(answer))
            return answer

        async def pages(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            id_ = self.sent(name, **self._asked(name, signature.bind(*args, **kwargs).arguments))
            async for page in method(*args, **kwargs):
                yield page
            self.answered(id_, outcome="done")

        setattr(class_, method.__name__, pages if inspect.isasyncgenfunction(method) else call)

    def _asked(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Under which token, about which messages, and to which batch the partition goes on."""
        request: Any = SimpleNamespace(name=name, args=args)
        [step] = args.get("steps", [None])
        [mark] = args.get("marks", [None])
        held = step or args.get("held") or (mark and mark.held)
        lease = held.lease if held else args.get("lease")
        reached = step.reached if step else args.get("reached") or args.get("batch")
        return {
            "token": lease.token if lease else args.get("token", self.token),
            "entries": mapping.named(request),
            "batch": reached.batch if reached else None,
        }


def _said(answer: Any) -> dict[str, Any]:
    refused = answer is False or isinstance(answer, Fenced | Gap)
    entries = [(m.id, m.attempts + 1) for m in answer.messages] if isinstance(answer, Fetched) else None
    outcome = "nothing" if answer is None else "refused" if refused else "done"
    return {"outcome": outcome, "token": _token(answer), "entries": entries}


def _token(answer: Any) -> int:
    return int(getattr(answer, "token", 0))


def _failure(error: BaseException) -> str:
    return "lost" if isinstance(error, LeaseLost) else "refused" if isinstance(error, LookAgain) else "unanswered"


def run(file: str, *options: str) -> None:
    recorder = Recorder(Path(file))
    for name in CALLS:
        recorder.record(name)
    ahead.BATCHES = 1  # a fetch of the model is one batch
    main(["relay", *options])


if __name__ == "__main__":
    run(*sys.argv[1:])
