"""Which extra of the package a command needs, said when it is not installed. Imports nothing that is in one."""

from __future__ import annotations

from outbox.errors import UsageError

_EXTRAS = {"relay": "relay", "api": "api", "enqueue": "api", "migrate": "api", "up": "embedded", "bench": "bench"}
"""The others are in the extra `cli`, as the command line is itself."""


class MissingExtra(UsageError):
    """A command needs what is not installed."""


def missing(error: ImportError, command: str | None = None) -> MissingExtra | None:
    """What to install for `command`, or for the command line. None: what was not found is a module of our own."""
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or module.startswith("outbox"):
        return None
    extra = _EXTRAS.get(command or "", "cli")
    what = f"`outbox {command}`" if command else "the command line"
    return MissingExtra(f"{what} needs {module}, which is not installed: {install(extra)}")


def install(extra: str) -> str:
    return f"pip install 'outbox-relay[{extra}]'"
