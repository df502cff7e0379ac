"""Logs: one line a change of state, as JSON for machines or in colour for a terminal."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO

import structlog
from structlog.typing import EventDict

from outbox.printable import printable
from outbox.settings import OutboxSettings


def configure(settings: OutboxSettings) -> None:
    """Set up structlog for this process, once, at its start. "auto" is colour on a terminal and JSON elsewhere."""
    console = settings.outbox_log_format == "console" or (settings.outbox_log_format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *(_console() if console else [structlog.processors.JSONRenderer()]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.outbox_log_level)),
        logger_factory=structlog.WriteLoggerFactory(file=Lossy(sys.stderr)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    # What libraries say through the standard library: only what somebody should act on.
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_Harmless("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[lines], force=True)


class Lossy:
    """stderr for logs. A line that cannot be written is lost: a full disk, or a reader that has left, stops no work."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # ValueError: it is closed
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._file.flush()


def _console() -> list[structlog.typing.Processor]:
    colours = sys.stderr.isatty()
    return [
        _harmless,
        structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback),
    ]


def _harmless(_: object, __: str, event: EventDict) -> EventDict:
    """What is logged may have been written by anybody: it must neither act on the terminal nor look like a line of its
    own. JSON escapes such things by itself.
    """
    return {printable(name): _shown(name, value) if isinstance(value, str) else value for name, value in event.items()}


def _shown(name: str, value: str) -> str:
    return _indented(value) if name == "exception" else printable(value)


class _Harmless(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _indented(super().format(record))


def _indented(text: str) -> str:
    """Of several lines, such as a traceback, all but the first are indented, as no line of the log is."""
    return printable(text, keep_lines=True).replace("\n", "\n  ")
