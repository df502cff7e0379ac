"""Where a process listens: a name of this machine, an IPv4 or an IPv6 address; `::` is both kinds, everywhere."""

from __future__ import annotations

import errno
import re
import resource
import socket
from functools import cache
from typing import NamedTuple

from outbox.errors import SettingsError

EXAMPLES = "127.0.0.1 or ::1 for this machine only, 0.0.0.0 or :: for all"

_PORTS = range(65536)


class Address(NamedTuple):
    """Where to listen. Without a host: everywhere, in IPv4. Port 0: one that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def at(self, host: str | None, port: int | None) -> Address:
        """This address with another host, or another port. Raises SettingsError for what is more than a host."""
        try:
            return Address(self.host if host is None else host_alone(host), self.port if port is None else port)
        except ValueError as error:
            raise SettingsError(f"--host {error}") from None


def address(value: str) -> Address:
    """Host and port as settings have them: `127.0.0.1:8001`, `[::]:8001`. Raises ValueError for anything else."""
    host, colon, port = value.rpartition(":")
    is_bare = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not colon or is_bare or not (port.isascii() and port.isdecimal() and int(port) in _PORTS):
        raise ValueError("is not a host and a port, such as 127.0.0.1:8001, or [::]:8001 for all addresses")
    return Address(host_alone(host), int(port))


def host_alone(value: str) -> str:
    """A host without brackets. Raises ValueError when it is more than a host, or none."""
    host = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if re.search(r"[\s/\[\]@,]", host) or re.fullmatch(r"[^:]*:\d*", host):
        raise ValueError(f"is not a host alone; it is such as {EXAMPLES}")
    return host


def listen(host: str, port: int, *, name: str, hint: str) -> socket.socket:
    """A socket that listens there; port 0 picks a free one.

    :param name: the setting, for errors. `hint` says what to do when the port is taken.
    :raises SettingsError: it cannot; says why.
    """
    try:
        # Without a host: everywhere, in IPv4.
        found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)  # noqa: S104
        family, *_, place = found[0]
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(place, family=family, dualstack_ipv6=both)
    except socket.gaierror:
        raise SettingsError(f"{name}: {host!r} is no name of this machine; use {EXAMPLES}") from None
    except OSError as error:
        raise SettingsError(
            f"{_shown(host)}:{port} cannot be used ({error.strerror}): {_why(error, name, hint)}"
        ) from None


@cache
def max_connections() -> int:
    """How many connections a process may hold: half of the files it may open, and a thousand at most.

    Raises what it may open to what the system allows; the rest of it is for MongoDB and Redis.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        soft = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(1000, soft // 2)


def _why(error: OSError, name: str, hint: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return hint
        case errno.EACCES:
            return f"ports below 1024 are for privileged users; set a higher one in {name}"
        case _:
            return f"{name} must have an address of this machine: {EXAMPLES}"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
