"""Why an embedded server did not start: each error says what to do about it."""

from __future__ import annotations

import re

from outbox.errors import OutboxError

_LIBRARY = re.compile(r"error while loading shared libraries: (?P<name>[^\s:]+): cannot open shared object file")
_VERSION = re.compile(r"(?P<path>\S+): version [`'](?P<version>\S+)' not found")
_PACKAGES = {"libcurl.so.4": "libcurl4", "libssl.so.3": "libssl3", "libcrypto.so.3": "libssl3"}


class BinaryMissing(OutboxError):
    """No server program was found; the text names where it was looked for and what to install."""


class NotStarted(OutboxError):
    """A server ended, or did not answer in time; the text has its reason or the end of its log."""


class PortTaken(NotStarted):
    """Another program listens on the address."""

    def __init__(self, server: str, host: str, port: int, *, remedy: str = "choose another port") -> None:
        super().__init__(
            f"{server} cannot listen on {host}:{port}: another program does; end that program, or {remedy}"
        )
        self.port = port


def missing_library(log: str) -> str | None:
    """What to install, read from what the dynamic loader printed; None when it printed nothing of the kind.

    Both of mongod's libraries are always named: the loader stops at the first that it misses.
    """
    if found := _LIBRARY.search(log):
        library = found["name"]
    elif (found := _VERSION.search(log)) and "libc.so" not in found["path"]:
        library = f"{found['path'].rpartition('/')[2]} with {found['version']}"
    elif found:
        return f"this system's C library is too old ({found['version']} is needed): use a newer distribution"
    else:
        return None
    if library.split()[0] in _PACKAGES:
        return (
            f"the system library {library} is missing. Debian, Ubuntu: apt-get install libcurl4 libssl3; "
            "Fedora, RHEL: dnf install libcurl openssl-libs"
        )
    return f"the system library {library} is missing: install the package that contains it"
