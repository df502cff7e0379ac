"""One mutation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One protection, where it stands, what stands there without it, and the test that must fail then."""

    protection: str
    guarantee: str
    file: str
    there: str
    without: str
    test: str
