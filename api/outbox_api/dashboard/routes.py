"""The routes of the dashboard."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any
from urllib.parse import quote, urlencode

import pymongo
import structlog
from bson import ObjectId
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from fastapi.routing import APIRoute
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError
from starlette.datastructures import FormData

from outbox.errors import NoSuchStream, OutboxError
from outbox.operations import audit, dead, jobs, pausing, reasons, replay, search, story
from outbox.operations.messages import read_id
from outbox.servers import causes
from outbox.servers.clock import as_text, server_time
from outbox.servers.outages import classify
from outbox.streams import pauses
from outbox.web.keys import Scope
from outbox_api.access import Asking, refuse_other_sites
from outbox_api.bodies import WHOLE, limited
from outbox_api.dashboard import documents, forms
from outbox_api.dashboard.board import Dashboard
from outbox_api.dashboard.pages import REGIONS, draw, page
from outbox_api.dashboard.sessions import PATH, ByCookie, Session
from outbox_api.errors import LoginNeeded, RequestError
from outbox_api.guesses import address_of
from outbox_api.ids import Id
from outbox_api.problems import TABLE
from outbox_api.state import Current, State

log = structlog.get_logger(__name__)

MAX_FORM = 64 * 1024
DONE = {
    "retried": "retried", "discarded": "discarded", "replayed": "replayed", "cancelled": "cancelled",
    "paused": "paused", "resumed": "resumed",
    "unchanged": "nothing was changed, because it is not published or completed",
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
                    await request.body()
                    form = await request.form()
                    request.state.fields = _fields(form)
                    for guard in guards:
                        guard.check_form(request, form.get("token"))
                with pymongo.timeout(state.settings.api_commit_seconds):
                    return await handle(request)
            except LoginNeeded as error:
                return RedirectResponse(f"{PATH}/login?{urlencode({'next': error.wanted})}", 303)
            except (OutboxError, RequestError) as error:
                kind = next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), None)
                return _failure(request, kind.title if kind else "Failed", str(error), kind.status if kind else 500)
            except (PyMongoError, RedisError) as error:
                if classify(error) is None:
                    raise
                cause = causes.explain(error)
                log.warning("server unavailable", path=request.url.path, cause=str(cause))
                return _failure(request, cause.what, f"{cause.do} Then try again.", 503)

        return handle_page


_HIDDEN: dict[str, Any] = {"prefix": PATH, "route_class": Page, "include_in_schema": False}
reading = APIRouter(**_HIDDEN, dependencies=[Depends(READ)])
operating = APIRouter(**_HIDDEN, dependencies=[Depends(OPERATE)])
door = APIRouter(**_HIDDEN)
routers = (reading, operating, door)


def _fields(form: FormData) -> forms.Fields:
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _failure(request: Request, title: str, detail: str, status: int) -> Response:
    return page("error.html", status=status, title=title, detail=detail, **_about(request))


def _about(request: Request) -> dict[str, Any]:
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


@reading.get("")
@reading.get("/")
async def overview(request: Request) -> Response:
    frame = await request.state.dashboard.sampler.frame()
    return page("overview.html", frame=frame, drawn=draw(frame), names=REGIONS, **_about(request))


@reading.get("/events")
async def events(request: Request) -> Response:
    """Server-sent events. `no-transform`, and the header of nginx: nothing on the way may keep them back."""
    headers = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
    board: Dashboard = request.state.dashboard
    session: Session = request.state.session
    board.sessions.refuse_more(session)

    async def stream() -> AsyncIterator[bytes]:
        with board.sessions.streaming(session) as goes_on:
            async with aclosing(board.sampler.stream(goes_on)) as events:
                async for event in events:
                    yield event

    return StreamingResponse(stream(), headers=headers, media_type="text/event-stream")


@reading.get("/search")
async def find(request: Request, state: Current) -> Response:
    fields = dict(request.query_params)
    wanted = forms.wanted(fields)
    found = None if wanted.empty else await search.search(state.database, wanted)
    older = urlencode({**fields, "before": str(found.before)}) if found and found.before else None
    return page("search.html", fields=fields, found=found, older=older, **_about(request))


@reading.get("/messages/{message_id:id}")
async def show_message(request: Request, state: Current, message_id: Id) -> Response:
    told = await story.tell(state.database, state.redis, state.streams, ObjectId(message_id))
    return page("story.html", story=told, **_about(request))


@reading.get("/dead")
async def show_dead(request: Request, state: Current) -> Response:
    found = await reasons.reasons(state.database)
    return page("dead.html", reasons=found, counted=reasons.COUNTED, **_about(request))


@operating.post("/messages/{message_id:id}/retry")
async def retry(state: Current, asking: Asking, message_id: Id) -> Response:
    await dead.retry(state.database, state.streams, ObjectId(message_id), who=asking.name)
    return _done(f"{PATH}/messages/{message_id}", "retried")


@operating.post("/messages/{message_id:id}/discard")
async def discard(state: Current, asking: Asking, message_id: Id) -> Response:
    await dead.discard(state.database, state.streams, ObjectId(message_id), who=asking.name)
    return _done(f"{PATH}/dead", "discarded")


@operating.post("/messages/{message_id:id}/replay")
async def replay_one(state: Current, asking: Asking, message_id: Id) -> Response:
    replayed = await replay.one(state.database, ObjectId(message_id), who=asking.name)
    return _done(f"{PATH}/messages/{message_id}", "replayed" if replayed else "unchanged")


@reading.get("/replay")
async def ask_replay(request: Request, state: Current) -> Response:
    """The form; with something typed into it, how many messages that selects."""
    fields = dict(request.query_params)
    selected = forms.selection(fields, state.streams)
    count = before = None
    if selected:
        before = await server_time(state.database)
        count = await replay.count(state.database, selected, before=before)
    frame = await request.state.dashboard.sampler.frame()
    return page(
        "replay.html", fields=fields, count=count, before=as_text(before) if before else None,
        nonce=secrets.token_urlsafe(16), streams=list(state.streams), drawn=draw(frame), **_about(request),
    )  # fmt: skip


@operating.post("/replay")
async def start_replay(request: Request, state: Current, asking: Asking) -> Response:
    fields = request.state.fields
    selected = forms.selection(fields, state.streams)
    if selected is None:
        return _done(f"{PATH}/replay", "")
    job = await jobs.create(
        state.database, selection=selected, who=asking.name, rate=state.replay_rate,
        # What was counted, and agreed to, is what is replayed; and a form that is sent twice is one replay.
        before=forms.moment(fields.get("before", "")), request=fields.get("request") or None,
    )  # fmt: skip
    return _done(f"{PATH}/replays/{job.id}", "")


@reading.get("/replays/{job_id:id}")
async def show_job(request: Request, state: Current, job_id: Id) -> Response:
    job = await jobs.find(state.database, ObjectId(job_id))
    frame = await request.state.dashboard.sampler.frame()
    return page("job.html", job=job, drawn=draw(frame), **_about(request))


@operating.post("/replays/{job_id:id}/cancel")
async def cancel_job(state: Current, asking: Asking, job_id: Id) -> Response:
    await jobs.cancel(state.database, ObjectId(job_id), who=asking.name)
    return _done(f"{PATH}/replays/{job_id}", "cancelled")


@reading.get("/audit")
async def show_audit(request: Request, state: Current) -> Response:
    before = request.query_params.get("before", "")
    found = await audit.page(state.database, before=read_id(before) if before else None)
    return page("audit.html", found=found, **_about(request))


@reading.get("/streams/{name:path}")
async def show_stream(request: Request, state: Current, name: str) -> Response:
    members = [one for one in state.streams.values() if (one.topic or one.family) == name]
    if not members:
        raise NoSuchStream(f"no stream {name!r:.80} is registered; there are {', '.join(state.streams.families())}")
    paused = (await pauses.read(state.database)).paused.get(name)
    return page("stream.html", name=name, members=members, pause=paused, **_about(request))


@operating.post("/streams/{name:path}/pause")
async def pause_stream(request: Request, state: Current, asking: Asking, name: str) -> Response:
    reason = request.state.fields.get("reason", "").strip() or None
    await pausing.pause(state.database, name, who=asking.name, reason=reason)
    return _done(f"{PATH}/streams/{quote(name)}", "paused")


@operating.post("/streams/{name:path}/resume")
async def resume_stream(state: Current, asking: Asking, name: str) -> Response:
    await pausing.resume(state.database, name, who=asking.name)
    return _done(f"{PATH}/streams/{quote(name)}", "resumed")


@reading.get("/docs")
async def list_documents(request: Request) -> Response:
    return _document(request, documents.INDEX)


@reading.get("/docs/{name}")
async def show_document(request: Request, name: str) -> Response:
    return _document(request, name)


def _document(request: Request, name: str) -> Response:
    text = documents.read(name)
    if text is None:
        return _failure(request, "There is no such page", "All pages are listed under Docs.", 404)
    return page("document.html", name=name, text=text, **_about(request))


def _done(path: str, what: str) -> Response:
    # 303: a reload repeats what is shown, never what was done.
    return RedirectResponse(f"{path}?{urlencode({'done': what})}" if what else path, 303)


@door.get("/login")
async def show_login(request: Request) -> Response:
    return page("login.html", next=request.query_params.get("next", PATH), refused="", **_about(request))


@door.post("/login")
async def login(request: Request, state: Current) -> Response:
    refuse_other_sites(request)
    fields = request.state.fields
    await state.guesses.count("login", request)
    key = state.access.keys.find(fields.get("key", "").strip())
    if key is None:
        log.warning("login refused", address=address_of(request))
        refused = "This key is not known here. Is it complete?"
        return page("login.html", status=401, next=fields.get("next", PATH), refused=refused, **_about(request))
    wanted = fields.get("next", PATH)
    # Only to ourselves: an address of another host, however it is spelt, is not followed.
    answer = RedirectResponse(wanted if wanted == PATH or wanted.startswith(f"{PATH}/") else PATH, 303)
    request.state.dashboard.sessions.open(request, answer, key)
    log.info("logged in", who=key.name)
    return answer


@door.post("/logout")
async def logout(request: Request) -> Response:
    refuse_other_sites(request)
    answer = RedirectResponse(f"{PATH}/login", 303)
    await request.state.dashboard.sessions.close(request, answer)
    return answer
