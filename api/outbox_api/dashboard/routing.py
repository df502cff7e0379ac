"""What every page of the dashboard has in common: who may see it, and what it answers when something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pymongo
import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from outbox.errors import OutboxError
from outbox.servers import causes
from outbox.servers.outages import classify
from outbox.web.keys import Scope
from outbox_api.bodies import WHOLE, limited
from outbox_api.dashboard import forms
from outbox_api.dashboard.pages import page
from outbox_api.dashboard.sessions import PATH, ByCookie, Session
from outbox_api.errors import LoginNeeded, NotAForm, RequestError, TooManyRequests
from outbox_api.problems import TABLE
from outbox_api.state import State

log = structlog.get_logger(__name__)

MAX_FORM = 64 * 1024
FORM = "application/x-www-form-urlencoded"
DONE = {
    "retried": "retried", "discarded": "discarded", "replayed": "replayed", "cancelled": "cancelled",
    "paused": "paused", "resumed": "resumed",
    "paused-already": "nothing was changed, because it was paused already",
    "not-paused": "nothing was changed, because it was not paused",
    "unchanged": "nothing was changed, because it is not published or completed, or was published again meanwhile",
}  # fmt: skip
"""What a page says was done, by the word in its address: a link can be made by anybody, and must not say more."""

READ, OPERATE = ByCookie(Scope.READ), ByCookie(Scope.OPERATE)


class Page(APIRoute):
    """A route that answers with a page, also when something is wrong, and whose forms must be our own."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        guards = [d.dependency for d in self.dependencies if isinstance(d.dependency, ByCookie)]

        async def handle_page(request: Request) -> Response:
            state: State = request.state.api
            try:
                for guard in guards:
                    await guard.check(request)
                if request.method == "POST":
                    idle = state.settings.api_idle_seconds
                    request = limited(request, MAX_FORM, idle, WHOLE * idle)
                    request.state.fields = fields = _fields(request, await request.body())
                    for guard in guards:
                        guard.check_form(request, fields.get("token"))
                # What acts has a time of its own, and as much again to find out what became of a commit whose reply was
                # lost: a limit around both would be over when that is asked.
                limit = None if OPERATE in guards else state.settings.api_read_seconds
                with pymongo.timeout(limit):
                    return await handle(request)
            except LoginNeeded as error:
                return RedirectResponse(f"{PATH}/login?{urlencode({'next': error.wanted})}", 303)
            except (OutboxError, RequestError) as error:
                kind = next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), None)
                answer = failure(request, kind.title if kind else "Failed", str(error), kind.status if kind else 500)
                if isinstance(error, TooManyRequests):
                    answer.headers["Retry-After"] = str(error.seconds)
                return answer
            except (PyMongoError, RedisError) as error:
                if classify(error) is None:
                    raise
                cause = causes.explain(error)
                log.warning("server unavailable", path=request.url.path, cause=str(cause))
                return failure(request, cause.what, f"{cause.do} Then try again.", 503)

        return handle_page


_HIDDEN: dict[str, Any] = {"prefix": PATH, "route_class": Page, "include_in_schema": False}
reading = APIRouter(**_HIDDEN, dependencies=[Depends(READ)])
operating = APIRouter(**_HIDDEN, dependencies=[Depends(OPERATE)])
door = APIRouter(**_HIDDEN)


def _fields(request: Request, body: bytes) -> forms.Fields:
    """What our own forms send. Of other kinds of forms, one could name a charset that gives text which has no UTF-8."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != FORM:
        raise NotAForm(kind or None, wanted=FORM)
    return dict(parse_qsl(body.decode("latin-1"), keep_blank_values=True))


def failure(request: Request, title: str, detail: str, status: int) -> Response:
    return page("error.html", status=status, title=title, detail=detail, **about(request))


def about(request: Request) -> dict[str, Any]:
    """What every page knows: who looks, and what they may do."""
    session: Session | None = getattr(request.state, "session", None)
    access = request.state.api.access
    return {
        "path": request.url.path,
        "who": session.caller.name if session else None,
        "token": session.token if session else "",
        "may_operate": bool(session and Scope.OPERATE in session.caller.scopes),
        "locked": not access.open,
        "done": DONE.get(request.query_params.get("done", "")),
    }


def done(path: str, what: str) -> Response:
    # 303: a reload repeats what is shown, never what was done.
    return RedirectResponse(f"{path}?{urlencode({'done': what})}" if what else path, 303)
