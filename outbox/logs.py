"""Logs: one line a change of state, as JSON for machines or in colour for a terminal."""

from __future__ import annotations

import logging
import sys

import structlog

from outbox.settings import OutboxSettings


def configure(settings: OutboxSettings) -> None:
    """Set up structlog for this process, once, at its start. "auto" is colour on a terminal and JSON elsewhere."""
    console = settings.outbox_log_format == "console" or (settings.outbox_log_format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if console else [structlog.processors.format_exc_info]),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
            if console
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.outbox_log_level)),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries say through the standard library: only what somebody should act on.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s", force=True)
