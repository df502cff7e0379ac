"""Every error in one format (RFC 9457), by one table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pymongo.errors import DuplicateKeyError, PyMongoError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from outbox import errors
from outbox.servers import causes
from outbox.servers.outages import Trouble, classify, server_of
from outbox_api import bodies, write_refusals
from outbox_api import errors as api_errors
from outbox_api.bodies import EarlyResponse

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

MAX_FAULTS = 100
"""Of one request, so many are told: an answer is no larger than somebody reads."""


class Fault(BaseModel):
    """One thing that is wrong with the request."""

    where: str = Field(description="the place, such as `body.files_id.1`")
    message: str
    value: str | None = Field(default=None, description="what was given there, if it is short")


class Problem(BaseModel):
    """What went wrong. `type` is for programs, `detail` for people."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:outbox:no-such-file"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="the path of the request")
    ids: list[str] | None = Field(default=None, description="the ids that will not do")
    errors: list[Fault] | None = Field(
        default=None, description=f"what is wrong with a request that is not valid: {MAX_FAULTS} faults at most"
    )


@dataclass(frozen=True, slots=True)
class Kind:
    status: HTTPStatus
    title: str
    retry: bool = False
    """Whether the same request may succeed later."""

    @property
    def type(self) -> str:
        return f"urn:outbox:{self.title.lower().replace(' ', '-')}"


TABLE: Mapping[type[Exception], Kind] = {
    api_errors.NotAForm: Kind(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Not a form"),
    api_errors.MalformedForm: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "Malformed form"),
    api_errors.WrongParts: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "Wrong parts"),
    api_errors.TooManyFiles: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "Too many files"),
    api_errors.Duplicate: Kind(HTTPStatus.CONFLICT, "Duplicate"),
    api_errors.WriteRefused: Kind(HTTPStatus.CONFLICT, "Write refused"),
    api_errors.BodyTooLarge: Kind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Body too large"),
    api_errors.BodyStalled: Kind(HTTPStatus.REQUEST_TIMEOUT, "Body stalled"),
    api_errors.ClientGone: Kind(HTTPStatus.BAD_REQUEST, "Client gone"),
    api_errors.OtherHost: Kind(HTTPStatus.BAD_REQUEST, "Other host"),
    api_errors.NotAuthenticated: Kind(HTTPStatus.UNAUTHORIZED, "Not authenticated"),
    api_errors.NotAllowed: Kind(HTTPStatus.FORBIDDEN, "Not allowed"),
    api_errors.FormExpired: Kind(HTTPStatus.FORBIDDEN, "Form expired"),
    api_errors.FromAnotherSite: Kind(HTTPStatus.FORBIDDEN, "From another site"),
    api_errors.TooManyRequests: Kind(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests", retry=True),
    errors.NoSuchFile: Kind(HTTPStatus.NOT_FOUND, "No such file"),
    errors.NoSuchPriority: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "No such priority"),
    errors.NoSuchMessage: Kind(HTTPStatus.NOT_FOUND, "No such message"),
    errors.NoSuchStream: Kind(HTTPStatus.NOT_FOUND, "No such stream"),
    errors.NoSuchJob: Kind(HTTPStatus.NOT_FOUND, "No such job"),
    errors.JobEnded: Kind(HTTPStatus.CONFLICT, "Job ended"),
    errors.StillUploading: Kind(HTTPStatus.CONFLICT, "Still uploading", retry=True),
    errors.NotDead: Kind(HTTPStatus.CONFLICT, "Not dead"),
    errors.UploadLost: Kind(HTTPStatus.CONFLICT, "Upload lost", retry=True),
    errors.KeyTaken: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "Idempotency key taken"),
    errors.UsageError: Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "Wrong request"),
    errors.ContentsDamaged: Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "Contents damaged"),
    errors.SchemaError: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "Database not set up", retry=True),
    errors.CommitUnknown: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "Outcome unknown", retry=True),
    api_errors.NotReady: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "Not ready", retry=True),
    errors.Unreachable: Kind(HTTPStatus.SERVICE_UNAVAILABLE, "Server unreachable", retry=True),
}


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""
    app.add_exception_handler(errors.OutboxError, _domain)
    app.add_exception_handler(api_errors.RequestError, _domain)
    app.add_exception_handler(PyMongoError, _server)
    app.add_exception_handler(RedisError, _server)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)


def cut_off(scope: Scope) -> Response:
    """The answer to a request that the server gives up when it stops. Nobody waits for what its body still holds."""
    log.warning("request refused", path=scope["path"], error="CommitUnknown", reason="the time to stop is over")
    detail = (
        "the server stopped before the request was done, and whether it was carried out is not known: repeat it, under "
        "the same Idempotency-Key if it had one"
    )
    answer = _response(Request(scope), TABLE[errors.CommitUnknown], detail, linger=False)
    answer.headers["Connection"] = "close"
    return answer


async def other_host(scope: Scope, names: Iterable[str]) -> Response:
    """The answer of an API without keys to who calls it by a name that is none of `names`."""
    return await _domain(Request(scope), api_errors.OtherHost(names))


def _response(request: Request, kind: Kind, detail: str, *, linger: bool = True, **more: Any) -> Response:
    """The problem as an answer. `linger`: where the body is not read. `more` are further members."""
    problem = Problem(
        type=kind.type,
        title=kind.title, status=kind.status, detail=detail, instance=request.url.path, **more,
    )  # fmt: skip
    headers = {"X-Content-Type-Options": "nosniff"}
    if kind.retry:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    # ASCII only: what was sent, and is told back here, may not be encodable.
    content = json.dumps(problem.model_dump(exclude_none=True), ensure_ascii=True)
    answer = EarlyResponse if linger and bodies.is_unread(request) else Response
    return answer(content, kind.status, headers, media_type=MEDIA_TYPE)


async def _domain(request: Request, error: Exception) -> Response:
    kind = next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), _DEFECT)
    if kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request refused", path=request.url.path, error=type(error).__name__, reason=str(error))
    more: dict[str, Any] = {}
    if isinstance(error, errors.Unreachable):
        return _response(request, kind, _unavailable(error.server))
    if isinstance(error, errors.FilesError):
        more["ids"] = list(error.ids)
    elif isinstance(error, api_errors.NotReady):
        more["checks"] = error.checks
    elif isinstance(error, api_errors.NotAllowed):
        more["scope"] = error.scope
    answer = _response(request, kind, str(error), **more)
    if isinstance(error, api_errors.NotAuthenticated):
        answer.headers["WWW-Authenticate"] = 'Bearer realm="outbox-relay"'
    elif isinstance(error, api_errors.TooManyRequests):
        answer.headers["Retry-After"] = str(error.seconds)
    return answer


async def _server(request: Request, error: Exception) -> Response:
    if isinstance(error, DuplicateKeyError):  # which no later attempt changes
        return await _domain(request, api_errors.Duplicate(error))
    if isinstance(error, PyMongoError) and write_refusals.is_lasting(error):  # likewise
        log.error("write refused", path=request.url.path, cause=str(causes.explain(error)))
        state = request.state.api
        refused = await write_refusals.explain(error, state.database, state.settings.api_read_seconds)
        return await _domain(request, refused)
    if classify(error) is None:
        raise error
    server = {"mongodb": "MongoDB", "redis": "Redis"}[server_of(error)]
    loud = log.error if classify(error) is Trouble.MISCONFIGURED else log.warning
    loud("server_unavailable", server=server, path=request.url.path, cause=str(causes.explain(error)))
    return _response(request, TABLE[errors.Unreachable], _unavailable(server))


def _unavailable(server: str) -> str:
    # The error itself names hosts and more, which is nobody's business but the log's.
    return f"{server} does not answer as it should; try again later"


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    faults = [_fault(fault) for fault in found[:MAX_FAULTS]]
    detail = "; ".join(f"{fault.where}: {fault.message}" for fault in faults[:3])
    if len(found) > MAX_FAULTS:
        detail += f"; and more: {len(found)} faults in all, of which `errors` has the first {MAX_FAULTS}"
    return _response(request, INVALID, detail, errors=faults)


def _fault(fault: Mapping[str, Any]) -> Fault:
    value = fault.get("input")
    simple = isinstance(value, str | int | float) and "header" not in fault["loc"]
    return Fault(where=_where(fault["loc"]), message=fault["msg"], value=_text(value) if simple else None)


def _where(location: Iterable[Any]) -> str:
    return ".".join(_text(step) for step in location)


def _text(value: object) -> str:
    return str(value)[:100].encode(errors="replace").decode()


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.BAD_REQUEST:  # FastAPI, of a body that cannot be decoded at all
        return _response(request, INVALID, "body: it is no JSON in UTF-8")
    answer = _response(request, Kind(status, status.phrase), error.detail)
    answer.headers.update(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = ", ".join(_allowed(request))
    return answer


def _allowed(request: Request) -> list[str]:
    """The methods of a path, of all its routes: Starlette tells of the first one only."""
    routes = request.app.router.routes
    found = [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ["GET", "HEAD", *found[1:]] if "GET" in found else found


async def _defect(request: Request, error: Exception) -> Response:
    # The server logs it with its traceback.
    return _response(request, _DEFECT, "this is a defect of the server; its log tells more")


INVALID = Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid request")
_DEFECT = Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error")
