"""The command line `outbox`. A command is a module here; the relay and the API bring their own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from outbox.cli.extras import missing

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `outbox` with `arguments` (those of the process by default) and exit; see `outbox.cli.program`."""
    try:
        from outbox.cli import program
    except ImportError as error:
        if (needed := missing(error)) is None:
            raise
        sys.stderr.write(f"error: {needed}\n")
        sys.exit(2)
    program.main(arguments)
