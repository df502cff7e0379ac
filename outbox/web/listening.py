"""Where a process listens: a name of this machine, an IPv4 or an IPv6 address; `::` is both kinds, everywhere."""

from __future__ import annotations

import errno
import re
import socket

from outbox.errors import SettingsError

EXAMPLES = "127.0.0.1 or ::1 for this machine only, 0.0.0.0 or :: for all"


def address(value: str) -> str:
    """A host as settings have it, without brackets. Raises ValueError when it is more than a host, or none."""
    host = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if re.search(r"[\s/\[\]@,]", host) or re.fullmatch(r"[^:]*:\d*", host):
        raise ValueError(f"is not a host alone; it is such as {EXAMPLES}. The port has a setting of its own")
    return host


def listen(host: str, port: int, *, names: tuple[str, str], hint: str) -> socket.socket:
    """A socket that listens there; port 0 picks a free one.

    :param names: the settings of host and port, for errors. `hint` says what to do when the port is taken.
    :raises SettingsError: it cannot; says why.
    """
    try:
        # Without a host: everywhere, in IPv4.
        found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)  # noqa: S104
        family, *_, place = found[0]
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(place, family=family, dualstack_ipv6=both)
    except socket.gaierror:
        raise SettingsError(f"{names[0]}: {host!r} is no name of this machine; use {EXAMPLES}") from None
    except OSError as error:
        raise SettingsError(
            f"{_shown(host)}:{port} cannot be used ({error.strerror}): {_why(error, names, hint)}"
        ) from None


def _why(error: OSError, names: tuple[str, str], hint: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return hint
        case errno.EACCES:
            return f"ports below 1024 are for privileged users; set {names[1]} to a higher one"
        case _:
            return f"{names[0]} must be an address of this machine: {EXAMPLES}"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
