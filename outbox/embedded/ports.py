"""Free TCP ports for embedded servers."""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path

RANGE = range(20_000, 32_768)
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_taken(host: str, port: int) -> bool:
    """Whether another program listens on the address now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: connections of an ended server that linger in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def pick(host: str) -> int:
    """A port on which nothing listens now. Another program may take it before the caller does: be ready to
    try again.

    Not one of those the kernel hands to outgoing connections, as binding to port 0 would give: while a
    server is down, a client that tries to reach such a port again and again is in the end given that very
    port as its own, connects to itself, and the server cannot come back.
    """
    low, high = ephemeral()
    candidates = [port for port in RANGE if not low <= port <= high] or RANGE
    for _ in range(200):
        port = random.choice(candidates)
        if not is_taken(host, port):
            return port
    raise OSError(f"no free port found on {host} from {RANGE.start} on")


def ephemeral() -> tuple[int, int]:
    if not _EPHEMERAL.exists():
        return 49_152, 65_535  # the range IANA recommends, which macOS has
    low, high = _EPHEMERAL.read_text().split()
    return int(low), int(high)
