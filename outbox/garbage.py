"""Garbage: how often Python looks for objects that only refer to each other, in the programs that are ours."""

from __future__ import annotations

import gc

YOUNG, MIDDLE, ALL = 20_000, 20, 50
"""Objects made, and not gone since, until a look at the young; such looks until one at the older ones, too; and those
until one at all."""


def collect_seldom() -> None:
    """To be called by a program that has loaded what it needs. Never by a library: the host's garbage is the host's.

    A look at all that a relay has loaded takes 25 ms, in which it does nothing else. By Python's own thresholds a drain
    has one every few thousand messages, since each of them is some objects that live for as long as its batch.
    """
    gc.collect()
    gc.freeze()  # what is loaded by now stays until the end, and is not looked at any more
    gc.set_threshold(YOUNG, MIDDLE, ALL)
