"""Sessions: a key typed in once, then a signed cookie; and the token that shows a form to be ours."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from fastapi import Request, Response
from itsdangerous import BadData, URLSafeTimedSerializer

from api.access import ANYONE, Access, Caller, Requires, admit, refuse_other_sites
from api.errors import FormExpired, LoginNeeded
from outbox.keys import Key

COOKIE = "outbox_session"
PATH = "/dashboard"


@dataclass(frozen=True, slots=True)
class Session:
    """Who is logged in. `token` stands in each form of this session, and is refused in any other."""

    caller: Caller
    token: str


class Sessions:
    """Opens and recognises sessions. A session ends with its time, with its key, or with the secret that signs it."""

    def __init__(self, access: Access, secret: str | None, hours: float) -> None:
        self._access = access
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

    def close(self, answer: Response) -> None:
        answer.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="strict")

    def find(self, request: Request) -> Session | None:
        """The session of the request, if it has one that is still good."""
        if self._access.open:
            return Session(ANYONE, self._token("open"))
        try:
            fingerprint, nonce = self._signer.loads(request.cookies.get(COOKIE, ""), max_age=self._seconds)
        except (BadData, ValueError, TypeError):
            return None
        key = self._access.keys.with_fingerprint(str(fingerprint))
        return Session(Caller(key.name, key.scopes), self._token(str(nonce))) if key else None

    def _token(self, nonce: str) -> str:
        return hmac.new(self._secret, f"form:{nonce}".encode(), hashlib.sha256).hexdigest()


class ByCookie(Requires):
    """The same dependency for pages: who is not logged in is asked to, and forms must come from our own pages."""

    def check(self, request: Request) -> None:
        if getattr(request.state, "session", None) is not None:
            return
        refuse_other_sites(request)
        session = request.state.dashboard.sessions.find(request)
        if session is None:
            raise LoginNeeded(request.url.path, request.url.query)
        admit(request.state.api.access, session.caller, self.scope)
        request.state.session, request.state.caller = session, session.caller

    @staticmethod
    def check_form(request: Request, token: object) -> None:
        """Raises FormExpired unless the form was made for this session."""
        session: Session = request.state.session
        if not isinstance(token, str) or not hmac.compare_digest(token.encode(), session.token.encode()):
            raise FormExpired("this form is from before you logged in: load the page again, and repeat what you did")
