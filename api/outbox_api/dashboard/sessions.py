"""Sessions: a key typed in once, then a signed cookie; and the token that shows a form to be ours."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

import pymongo
from fastapi import Request, Response
from itsdangerous import BadData, URLSafeTimedSerializer
from pymongo.errors import PyMongoError

from outbox.database import Database
from outbox.web import logouts
from outbox.web.keys import Key
from outbox_api.access import ANYONE, Access, Caller, Requires, admit, refuse_other_sites
from outbox_api.errors import FormExpired, LoginNeeded, TooManyStreams

COOKIE = "outbox_session"
PATH = "/dashboard"

LOOK_SECONDS = 1.0
"""For the question whether a session has ended: while MongoDB is away, pages must still show that it is."""

MAX_STREAMS, MAX_STREAMS_EACH = 256, 32
"""Event streams that may be open at once in one process, and of one session."""


@dataclass(frozen=True, slots=True)
class Session:
    """Who is logged in, until when by this machine's clock. `token` stands in each form of this session, and is refused
    in any other. `id` is what others may know of it.
    """

    id: str
    caller: Caller
    token: str
    until: float


class Sessions:
    """Opens and recognises sessions. A session ends with a logout, with its time, when its key is taken out or has
    other scopes, or with the secret that signs it.

    A logout is put on record in MongoDB, where each process looks it up: for each request, and once a second for all
    the streams that it has open. While MongoDB does not answer, logouts at other processes are not known; all that can
    be seen then is what this process saw last.
    """

    def __init__(self, access: Access, database: Database, secret: str | None, hours: float) -> None:
        self._access = access
        self._database = database
        self._ended: dict[str, float] = {}
        self._streams: Counter[str] = Counter()
        self._secret = (secret or secrets.token_urlsafe(32)).encode()
        self._signer = URLSafeTimedSerializer(self._secret, salt="session")
        self._seconds = round(hours * 3600)

    def open(self, request: Request, answer: Response, key: Key) -> None:
        """Let `answer` carry a new session of the holder of `key`."""
        value = self._signer.dumps([key.fingerprint, secrets.token_urlsafe(16)])
        answer.set_cookie(
            COOKIE, value, max_age=self._seconds, path=PATH, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip

    async def close(self, request: Request, answer: Response) -> None:
        """End the session of the request, here and at every process, and take its cookie back."""
        session = self._read(request)
        if session and not self._access.open:
            self._ended[session.id] = session.until
            await logouts.end(self._database, session.id, seconds=max(1, round(session.until - time.time())) + 60)
        answer.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="strict")

    async def find(self, request: Request) -> Session | None:
        """The session of the request, if it has one that is still good."""
        session = self._read(request)
        if session is None or self._access.open:
            return session
        await self._look([session.id])
        return session if self._good(session) else None

    def _read(self, request: Request) -> Session | None:
        """The session that the cookie speaks of, unless it has ended by itself."""
        if self._access.open:
            return Session("", ANYONE, self._token("open"), float("inf"))
        try:
            signed = self._signer.loads(request.cookies.get(COOKIE, ""), max_age=self._seconds, return_timestamp=True)
            (fingerprint, nonce), since = signed
        except (BadData, ValueError, TypeError):
            return None
        key = self._access.keys.with_fingerprint(str(fingerprint))
        if key is None:
            return None
        id_ = hashlib.sha256(f"session:{nonce}".encode()).hexdigest()
        until = since.timestamp() + self._seconds
        return Session(id_, Caller(key.name, key.scopes), self._token(str(nonce)), until)

    async def look(self) -> None:
        """Learn which of the sessions with open streams have ended: one question for all of them."""
        now = time.time()
        self._ended = {id_: until for id_, until in self._ended.items() if until > now}
        if ids := [id_ for id_ in self._streams if id_]:
            await self._look(ids)

    async def _look(self, ids: list[str]) -> None:
        try:
            with pymongo.timeout(LOOK_SECONDS):
                ended = await logouts.ended(self._database, ids)
        except PyMongoError:
            return
        self._ended |= dict.fromkeys(ended, time.time() + self._seconds)

    def _good(self, session: Session) -> bool:
        return session.id not in self._ended and time.time() < session.until

    def refuse_more(self, session: Session) -> None:
        """Raise TooManyStreams when this process, or this session, has as many as it may."""
        if self._streams.total() >= MAX_STREAMS or self._streams[session.id] >= MAX_STREAMS_EACH:
            raise TooManyStreams

    @contextmanager
    def streaming(self, session: Session) -> Iterator[Callable[[], bool]]:
        """Count a stream of this session; gives what tells whether it may go on."""
        self._streams[session.id] += 1
        try:
            yield lambda: self._good(session)
        finally:
            self._streams[session.id] -= 1
            self._streams += Counter()  # forgets those that have none

    def _token(self, nonce: str) -> str:
        return hmac.new(self._secret, f"form:{nonce}".encode(), hashlib.sha256).hexdigest()


def _place(request: Request) -> tuple[str, str]:
    """Path and query of where to go after a login: of the page that was asked for, or on which a button was pressed.

    What a button asks for is no page. A login follows neither out of the dashboard, so that any `Referer` may be read.
    """
    try:
        page = request.url if request.method == "GET" else urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return PATH, ""
    # Without what the page says was done: that was before, and this time nothing was.
    query = [(name, value) for name, value in parse_qsl(page.query, keep_blank_values=True) if name != "done"]
    return page.path or PATH, urlencode(query)


class ByCookie(Requires):
    """The same dependency for pages: who is not logged in is asked to, and forms must come from our own pages."""

    async def check(self, request: Request) -> None:
        if getattr(request.state, "session", None) is not None:
            return
        refuse_other_sites(request)
        session = await request.state.dashboard.sessions.find(request)
        if session is None:
            raise LoginNeeded(*_place(request))
        admit(request.state.api.access, session.caller, self.scope)
        request.state.session, request.state.caller = session, session.caller

    @staticmethod
    def check_form(request: Request, token: object) -> None:
        """Raises FormExpired unless the form was made for this session."""
        session: Session = request.state.session
        if not isinstance(token, str) or not hmac.compare_digest(token.encode(), session.token.encode()):
            raise FormExpired("this form is from before you logged in: load the page again, and repeat what you did")
