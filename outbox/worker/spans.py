"""A span around a handler where OpenTelemetry is installed; a worker does not need it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["handling"]

try:
    from outbox.traces import handling
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("opentelemetry"):
        raise

    @contextmanager
    def handling(stream: str, headers: Mapping[str, str], id_: str, attempt: int) -> Iterator[None]:
        """Nothing: there is nobody to report a span to."""
        yield
