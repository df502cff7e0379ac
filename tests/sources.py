"""The sources of the packages, for tests that read them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Every module of the core, the relay and the files application, parsed."""
    for package in ("outbox", "outbox_relay", "outbox_api"):
        spec = find_spec(package)
        assert spec
        assert spec.origin
        for path in Path(spec.origin).parent.rglob("*.py"):
            yield path, ast.parse(path.read_text())
