"""What is logged may have been written by anybody: it acts on no terminal, and looks like no line of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys, structlog
from outbox import logs
from outbox.settings import OutboxSettings, load
logs.configure(load(OutboxSettings))
EVIL = "a\\x1b]0;owned\\x07\\x1b[2J\\n2026-01-01 00:00:00 [info     ] logged_in who=root\\r\\u202e\\x9b1m"
log = structlog.get_logger("x")
log.warning(EVIL, name=EVIL, held=[EVIL], by={EVIL: EVIL}, error=ValueError(EVIL), raw=EVIL.encode())
try:
    raise ValueError(EVIL)
except ValueError:
    log.exception("failed", **{"odd\\x1b[2J": 1})
logging.getLogger("uvicorn").warning("says %s", EVIL)
try:
    raise ValueError(EVIL)
except ValueError:
    logging.getLogger("asyncio").exception("says")
"""


@pytest.mark.parametrize("form", ["console", "json", "auto"])
def test_nothing_that_is_logged_acts_on_a_terminal(form: str) -> None:
    ours, theirs = pty.openpty()
    try:
        environment = {**os.environ, "OUTBOX_LOG_FORMAT": form, "NO_COLOR": "1", "TERM": "dumb"}
        command = [sys.executable, "-c", PROGRAM]
        subprocess.run(command, stderr=theirs, env=environment, timeout=60, check=True)
        os.set_blocking(ours, False)
        written = b""
        try:
            while data := os.read(ours, 65536):
                written += data
        except BlockingIOError:
            pass
    finally:
        os.close(ours)
        os.close(theirs)
    text = written.decode()
    assert text.count("owned") >= 7
    colours = ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[22m", *(f"\x1b[{n}m" for n in range(30, 48)))
    for colour in colours:  # our own
        text = text.replace(colour, "")
    for evil in ("\x1b", "\x07", "\x9b", "\u202e", "\r2026"):
        assert evil not in text, repr(evil)
    assert [line for line in text.splitlines() if line.startswith("2026-01-01")] == [], "a line that nobody wrote"
