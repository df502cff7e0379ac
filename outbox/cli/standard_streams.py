"""The standard streams of a command, which can be closed, full, without a reader, or of any encoding."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from contextlib import suppress

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def prepare() -> None:
    """From now on there are all three, and whatever the encoding of an output has no characters for is escaped.

    One that is closed becomes the null device: else the first connection would take its number, and whatever is written
    to the standard output would go to a server.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors="backslashreplace")


def is_full(error: BaseException) -> bool:
    """Whether an output could not be written because of the disk."""
    return isinstance(error, OSError) and error.errno in _FULL and error.filename is None


def end() -> None:
    """Write what is left, or drop it: the exit code is that of the work, not of the output's end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
