from __future__ import annotations

from tests.worker.conftest import prompt, workshop

__all__ = ["prompt", "workshop"]
