"""Options that are numbers of seconds, or the like."""

from __future__ import annotations

from math import isfinite

import typer


def finite(value: float | None) -> float | None:
    """The callback of an option. nan is neither below a limit nor above one, and inf would be waited for for ever."""
    if value is not None and not isfinite(value):
        raise typer.BadParameter(f"{value} is not a number that can be counted to.")
    return value
