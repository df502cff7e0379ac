"""Guesses: keys that are not known, counted by the address that they come from.

The address is that of the connection, or, behind a proxy that `OUTBOX_API_TRUSTED_PROXIES` names, the rightmost one in
`X-Forwarded-For` that is not such a proxy's: what stands left of it, the client may have written itself.
"""

from __future__ import annotations

import ipaddress
import time

from pymongo.errors import PyMongoError
from starlette.requests import HTTPConnection

from outbox.database import Database
from outbox.web import refusals
from outbox_api.errors import TooManyGuesses

LIMIT = 30
"""In a minute, from one address, at all processes together."""

MAX_ADDRESSES = 10_000
"""How many addresses a process counts by itself; of any more, MongoDB alone keeps count."""


def address_of(request: HTTPConnection) -> str:
    """Where the request comes from, for people and for logs; empty when it is not known, such as on a Unix socket."""
    return request.client.host[:64] if request.client else ""


def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address; of IPv6 a /64, which one household or machine has to itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


class Guesses:
    """Counts them: in this process first, so that a flood reaches MongoDB `LIMIT` times a minute and no more."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts: dict[str, int] = {}
        self._until = 0.0

    async def count(self, what: str, request: HTTPConnection) -> None:
        """Count one more `what` from where the request comes from. Raises TooManyGuesses.

        While MongoDB does not answer, each process counts for itself.
        """
        network = network_of(address_of(request))
        name = f"{what} {network}"
        if (now := time.monotonic()) > self._until:
            self._counts.clear()
            self._until = now + refusals.WINDOW_SECONDS
        seen = self._counts.get(name, 0) + 1
        if seen > LIMIT:
            raise TooManyGuesses(LIMIT, refusals.WINDOW_SECONDS)
        if name in self._counts or len(self._counts) < MAX_ADDRESSES:
            self._counts[name] = seen
        try:
            together = await refusals.count(self._database, what, network)
        except PyMongoError:
            return
        if together > LIMIT:
            raise TooManyGuesses(LIMIT, refusals.WINDOW_SECONDS)
