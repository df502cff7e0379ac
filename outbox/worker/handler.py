"""Handlers: the functions that do the work, found by name and known by their form."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from outbox.errors import UsageError

RESOURCES = "resources"
FORMS = (
    "handle(message, session), or handle(message) when it can use no transaction, or handle(messages, session) for "
    "many in one transaction; plain or async"
)


@dataclass(frozen=True, slots=True, eq=False)
class Handler:
    """A function to call with each message.

    `plain`: as far as its form shows, it is not async, so it is called in a thread. What it returns decides: a plain
    function that returns an awaitable, such as a decorator's around an async one, is an async handler.

    `many`: its first parameter is called `messages`, and it is called with several at a time. `with_resources`: it has
    a parameter `resources`, and gets what the worker's lifespan yields. `seconds`: how long one call may take, instead
    of what its stream or its worker allows; 0 is no limit.
    """

    function: Callable[..., Any]
    plain: bool
    with_session: bool
    by_name: bool = False
    many: bool = False
    with_resources: bool = False
    seconds: float | None = None

    @property
    def name(self) -> str:
        """Of the function, for metrics."""
        innermost, _ = without_partials(self.function)
        return str(getattr(innermost, "__qualname__", type(innermost).__qualname__))

    def call(self, messages: Sequence[object], session: object = None, resources: object = None) -> Any:
        """What the function returns for `messages`, which is one unless the handler takes `many`."""
        arguments: list[object] = [messages if self.many else messages[0]]
        named = {"resources": resources} if self.with_resources else {}
        if self.with_session and self.by_name:
            named["session"] = session
        elif self.with_session:
            arguments.append(session)
        return self.function(*arguments, **named)

    @classmethod
    def of(cls, function: Callable[..., Any], seconds: float | None = None) -> Handler:
        """Raises UsageError when the function cannot be called as a handler."""
        if not callable(function):
            raise UsageError(f"{function!r:.80} is not a function: a handler is {FORMS}")
        innermost, bound = without_partials(function)
        called = innermost if inspect.isroutine(innermost) else type(innermost).__call__
        if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
            raise UsageError(f"{function!r:.80} is a generator, nothing of which would run: a handler is {FORMS}")
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError) as error:
            raise UsageError(f"{function!r:.80}: {error}; a handler is {FORMS}") from None
        free = [p for p in parameters.values() if p.name not in bound]
        others = [p for p in free if p.name != RESOURCES]
        if others and others[0].name == "session":
            raise UsageError(f"{function!r:.80}: the message comes first, then the session; a handler is {FORMS}")
        form = _session_of(others)
        if form is None:
            raise UsageError(f"{function!r:.80} cannot be called with a message and a session: a handler is {FORMS}")
        with_session, by_name = form
        many = others[0].name == "messages" and others[0].kind is not inspect.Parameter.VAR_POSITIONAL
        if many and not with_session:
            raise UsageError(f"{function!r:.80} takes many messages, so it needs a session: handle(messages, session)")
        plain = not inspect.iscoroutinefunction(called)
        return cls(function, plain, with_session, by_name, many, len(others) < len(free), seconds)


def without_partials(function: Callable[..., Any]) -> tuple[Callable[..., Any], set[str]]:
    """The function inside of `functools.partial`, and the names of arguments that it has been given there."""
    bound: set[str] = set()
    while isinstance(function, functools.partial):
        bound |= function.keywords.keys()
        function = function.func
    return function, bound


def _session_of(parameters: Sequence[inspect.Parameter]) -> tuple[bool, bool] | None:
    """Whether a function with these parameters takes a session, and takes it by name; None: it cannot be called."""
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in positional if p.default is p.empty]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    others = [p for p in named if p.default is p.empty and p.name != "session"]
    if not (positional or variadic) or len(needed) > 2 or others:
        return None
    if len(needed) < 2 and any(p.name == "session" for p in named):
        return True, True
    # An optional second parameter is for a session if it says so; with *args, whoever is inside is given both.
    optional = len(positional) > 1 and ("session" in positional[1].name or "ClientSession" in str(positional[1]))
    return len(needed) == 2 or optional or (variadic and len(positional) < 2), False


def find(name: str) -> Any:
    """What is called `MODULE:NAME`, looked for in the current folder too. Raises UsageError."""
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
    return found
