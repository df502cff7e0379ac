"""The routes of the dashboard."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from urllib.parse import quote, urlencode

import structlog
from bson import ObjectId
from fastapi import Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from outbox.errors import NoSuchStream
from outbox.operations import audit, dead, jobs, pausing, reasons, replay, search, story
from outbox.operations.messages import read_id
from outbox.servers.clock import as_text, server_time
from outbox.streams import pauses
from outbox_api.access import Asking, refuse_other_sites
from outbox_api.dashboard import documents, forms
from outbox_api.dashboard.board import Dashboard
from outbox_api.dashboard.pages import REGIONS, draw, page
from outbox_api.dashboard.routing import about, done, door, failure, operating, reading
from outbox_api.dashboard.sessions import PATH, Session
from outbox_api.guesses import address_of
from outbox_api.ids import Id
from outbox_api.state import Current, State

log = structlog.get_logger(__name__)

routers = (reading, operating, door)

NO_SUCH_PAGE = "There is no such page"


@reading.get("")
@reading.get("/")
async def overview(request: Request) -> Response:
    frame = await request.state.dashboard.sampler.frame()
    return page("overview.html", frame=frame, drawn=draw(frame), names=REGIONS, **about(request))


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
    return page("search.html", fields=fields, found=found, older=older, **about(request))


@reading.get("/messages/{message_id:id}")
async def show_message(request: Request, state: Current, message_id: Id) -> Response:
    told = await story.tell(state.database, state.redis, state.streams_now, ObjectId(message_id))
    return page("story.html", story=told, **about(request))


@reading.get("/dead")
async def show_dead(request: Request, state: Current) -> Response:
    found = await reasons.reasons(state.database)
    return page("dead.html", reasons=found, counted=reasons.COUNTED, **about(request))


@operating.post("/messages/{message_id:id}/retry")
async def retry(request: Request, state: Current, asking: Asking, message_id: Id) -> Response:
    await dead.retry(
        state.database, state.streams, ObjectId(message_id), who=asking.name, before=forms.seen(request.state.fields),
        seconds=_seconds(state),
    )  # fmt: skip
    return done(f"{PATH}/messages/{message_id}", "retried")


@operating.post("/messages/{message_id:id}/discard")
async def discard(request: Request, state: Current, asking: Asking, message_id: Id) -> Response:
    await dead.discard(
        state.database, state.streams, ObjectId(message_id), who=asking.name, before=forms.seen(request.state.fields),
        seconds=_seconds(state),
    )  # fmt: skip
    return done(f"{PATH}/dead", "discarded")


@operating.post("/messages/{message_id:id}/replay")
async def replay_one(request: Request, state: Current, asking: Asking, message_id: Id) -> Response:
    replayed = await replay.one(
        state.database, ObjectId(message_id), who=asking.name, before=forms.seen(request.state.fields),
        seconds=_seconds(state),
    )  # fmt: skip
    return done(f"{PATH}/messages/{message_id}", "replayed" if replayed else "unchanged")


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
        "replay.html", fields=fields, counted=forms.fixed(fields, selected) if selected else {}, count=count,
        before=as_text(before) if before else None, nonce=secrets.token_urlsafe(16), streams=list(state.streams),
        drawn=draw(frame), **about(request),
    )  # fmt: skip


@operating.post("/replay")
async def start_replay(request: Request, state: Current, asking: Asking) -> Response:
    fields = request.state.fields
    selected = forms.selection(fields, state.streams)
    if selected is None:
        return done(f"{PATH}/replay", "")
    job = await jobs.create(
        state.database, selection=selected, who=asking.name, rate=state.replay_rate,
        # What was counted, and agreed to, is what is replayed; and a form that is sent twice is one replay.
        before=forms.moment(fields.get("before", "")), request=fields.get("request") or None,
        seconds=_seconds(state),
    )  # fmt: skip
    return done(f"{PATH}/replays/{job.id}", "")


@reading.get("/replays/{job_id:id}")
async def show_job(request: Request, state: Current, job_id: Id) -> Response:
    job = await jobs.find(state.database, ObjectId(job_id))
    frame = await request.state.dashboard.sampler.frame()
    return page("job.html", job=job, drawn=draw(frame), **about(request))


@operating.post("/replays/{job_id:id}/cancel")
async def cancel_job(state: Current, asking: Asking, job_id: Id) -> Response:
    await jobs.cancel(state.database, ObjectId(job_id), who=asking.name, seconds=_seconds(state))
    return done(f"{PATH}/replays/{job_id}", "cancelled")


@reading.get("/audit")
async def show_audit(request: Request, state: Current) -> Response:
    before = request.query_params.get("before", "")
    found = await audit.page(state.database, before=read_id(before) if before else None)
    return page("audit.html", found=found, **about(request))


@reading.get("/streams/{name:path}")
async def show_stream(request: Request, state: Current, name: str) -> Response:
    members = [one for one in state.streams.values() if (one.topic or one.family) == name]
    if not members:
        raise NoSuchStream(f"no stream {name!r:.80} is registered; there are {', '.join(state.streams.families())}")
    paused = (await pauses.read(state.database)).paused.get(name)
    return page("stream.html", name=name, members=members, pause=paused, **about(request))


@operating.post("/streams/{name:path}/pause")
async def pause_stream(request: Request, state: Current, asking: Asking, name: str) -> Response:
    reason = request.state.fields.get("reason", "").strip() or None
    paused = await pausing.pause(state.database, name, who=asking.name, reason=reason, seconds=_seconds(state))
    return done(f"{PATH}/streams/{quote(name)}", "paused" if paused else "paused-already")


@operating.post("/streams/{name:path}/resume")
async def resume_stream(state: Current, asking: Asking, name: str) -> Response:
    resumed = await pausing.resume(state.database, name, who=asking.name, seconds=_seconds(state))
    return done(f"{PATH}/streams/{quote(name)}", "resumed" if resumed else "not-paused")


@reading.get("/docs")
async def list_documents(request: Request) -> Response:
    return _document(request, documents.INDEX)


@reading.get("/docs/{name}")
async def show_document(request: Request, name: str) -> Response:
    return _document(request, name)


def _seconds(state: State) -> float:
    return state.settings.api_commit_seconds


def _document(request: Request, name: str) -> Response:
    text = documents.read(name)
    if text is None:
        return failure(request, NO_SUCH_PAGE, "All pages are listed under Docs.", 404)
    return page("document.html", name=name, text=text, **about(request))


@door.get("/login")
async def show_login(request: Request) -> Response:
    return page("login.html", next=request.query_params.get("next", PATH), refused="", **about(request))


@door.post("/login")
async def login(request: Request, state: Current) -> Response:
    refuse_other_sites(request)
    fields = request.state.fields
    key = state.access.keys.find(fields.get("key", "").strip())
    if key is None:
        await state.guesses.count("login", request)
        log.warning("login refused", address=address_of(request))
        refused = "This key is not known here. Is it complete?"
        return page("login.html", status=401, next=fields.get("next", PATH), refused=refused, **about(request))
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


@door.api_route("/{path:path}", methods=["GET", "POST"])
async def no_such_page(request: Request) -> Response:
    """After all others. A mistyped address, or an id that is none, is answered by a page, too."""
    request.state.session = await request.state.dashboard.sessions.find(request)
    return failure(request, NO_SUCH_PAGE, "Is the address complete? Overview and Search lead to all there is.", 404)
