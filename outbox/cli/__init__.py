"""The command line `outbox`. A command is a module here; the relay and the API bring their own."""

from outbox.cli.program import main

__all__ = ["main"]
