"""Telling whoever watches what is being measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Tell: TypeAlias = Callable[[str], None]
"""Called with a few words before each step."""
