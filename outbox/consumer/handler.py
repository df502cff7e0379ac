"""Handlers: the functions that do the work, found by name and known by their form."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from outbox.errors import UsageError

FORMS = "handle(message, session), or handle(message) when it can use no transaction; plain or async"


@dataclass(frozen=True, slots=True)
class Handler:
    """A function to call with each message. `plain`: not async, so it is called in a thread."""

    call: Callable[..., Any]
    plain: bool
    with_session: bool

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Handler:
        """Raises UsageError when the function cannot be called as a handler."""
        if not callable(function):
            raise UsageError(f"{function!r:.80} is not a function: a handler is {FORMS}")
        try:
            parameters = inspect.signature(function).parameters.values()
        except ValueError as error:
            raise UsageError(f"{function!r:.80}: {error}; a handler is {FORMS}") from None
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        needed = [p for p in positional if p.default is p.empty]
        others = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
        if len(needed) not in (1, 2) or others:
            raise UsageError(f"{function!r:.80} cannot be called with a message and a session: a handler is {FORMS}")
        call = function if inspect.isroutine(function) else type(function).__call__
        return cls(function, not inspect.iscoroutinefunction(call), len(needed) == 2)


def load(name: str) -> Handler:
    """The handler called `MODULE:FUNCTION`, looked for in the current folder too. Raises UsageError."""
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise UsageError(f"{name!r} does not name a handler: write MODULE:FUNCTION, such as myapp.tasks:handle")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name + ".").startswith(error.name + "."):
            raise UsageError(f"there is no module {error.name!r} here, in {os.getcwd()}, or installed") from None
        raise
    for part in path.split("."):
        if not hasattr(found, part):
            raise UsageError(f"module {module_name!r} has no {path!r}")
        found = getattr(found, part)
    return Handler.of(found)
