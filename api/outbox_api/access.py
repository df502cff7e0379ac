"""Who may do what: a dependency of each router, checked before a body is read.

Without any key everything is open, which the API does on this machine only unless it is told otherwise in words.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Annotated

import limits
import structlog
from fastapi import Depends, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers

from outbox.web.keys import ALL, Keys, Scope
from outbox_api.errors import FromAnotherSite, NotAllowed, NotAuthenticated, TooManyRequests, UnknownKey
from outbox_api.guesses import address_of

log = structlog.get_logger(__name__)

BEARER = HTTPBearer(auto_error=False, scheme_name="key", description="A key that `outbox key new` made.")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the holder of a key, or anyone where there are no keys."""

    name: str
    scopes: frozenset[Scope]


ANYONE = Caller("anyone", ALL)


class Access:
    """The keys, and how much each is used."""

    def __init__(self, keys: Keys, rate: str) -> None:
        self.keys = keys
        self._rate = limits.parse(rate)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    @property
    def open(self) -> bool:
        """Whether nobody is asked for a key."""
        return not self.keys

    def caller(self, headers: Headers) -> Caller:
        """Whose key the request carries. Raises NotAuthenticated; UnknownKey when it shows one that is not known."""
        if self.open:
            return ANYONE
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise NotAuthenticated("send a key: Authorization: Bearer …")
        key = self.keys.find(secret.strip())
        if key is None:
            raise UnknownKey("this key is not known here: it is mistyped, or was taken out")
        return Caller(key.name, key.scopes)

    def count(self, caller: Caller) -> None:
        """Count a request of `caller`. Raises TooManyRequests when it has had its share."""
        if not self.open and not self._limiter.hit(self._rate, caller.name):
            reset = self._limiter.get_window_stats(self._rate, caller.name).reset_time
            raise TooManyRequests(str(self._rate), max(1, math.ceil(reset - time.time())))


class Requires:
    """A dependency: the request carries a key with `scope`. Its routes' bodies are not read before that is known."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
    ) -> None:
        # The scheme above is there for the OpenAPI document alone.
        await self.check(request)

    async def check(self, request: Request) -> None:
        """Raises NotAuthenticated, NotAllowed, TooManyRequests or FromAnotherSite. A second call costs nothing."""
        if getattr(request.state, "caller", None) is not None:
            return
        access: Access = request.state.api.access
        try:
            caller = access.caller(request.headers)
        except UnknownKey:
            await request.state.api.guesses.count("key", request)
            log.warning("key refused", address=address_of(request))
            raise
        if access.open:
            # Whoever browses the web on this machine must not lend the open door to the pages that they visit.
            refuse_other_sites(request)
        admit(access, caller, self.scope)
        request.state.caller = caller


def admit(access: Access, caller: Caller, scope: Scope) -> None:
    """Let a caller with this scope pass. Raises NotAllowed or TooManyRequests."""
    access.count(caller)
    if scope not in caller.scopes:
        log.warning("not allowed", who=caller.name, scope=scope.value)
        raise NotAllowed(caller.name, scope)


async def caller(request: Request) -> Caller:
    """A dependency, after `Requires`: who asks."""
    asking: Caller = request.state.caller
    return asking


Asking = Annotated[Caller, Depends(caller)]


async def one_key(request: Request) -> None:
    """A dependency: the request names one Idempotency-Key at most. Which of two is meant, nobody can know."""
    given = request.headers.getlist("idempotency-key")
    if len(given) > 1:
        text = f"it is there {len(given)} times: send one"
        raise RequestValidationError([{"loc": ("header", "Idempotency-Key"), "msg": text}])


def refuse_other_sites(request: Request) -> None:
    """Raise FromAnotherSite when a browser says that a page of another origin makes this request, and it may write."""
    if request.method in _SAFE:
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        origin = request.headers.get("origin")
        # Compared as text: what a browser sends has this form, and what has not may not be taken apart at all.
        foreign = origin is not None and origin.partition("://")[2] != request.headers.get("host")
    if foreign:
        raise FromAnotherSite("this request comes from a page of another origin")
