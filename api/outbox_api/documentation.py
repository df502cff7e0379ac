"""The OpenAPI document: FastAPI's, with our one problem format in the place of its own errors; and its page."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

from outbox_api.errors import NotAllowed, NotAuthenticated, TooManyRequests
from outbox_api.headers import OWN_PAGES
from outbox_api.problems import INVALID, MEDIA_TYPE, RETRY_AFTER_SECONDS, TABLE, Kind, Problem

_SCHEMA = {"$ref": "#/components/schemas/Problem"}
_RETRY_AFTER = {
    "Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "example": RETRY_AFTER_SECONDS}}
}


_LOCKED = (NotAuthenticated, NotAllowed, TooManyRequests)
"""How a route that asks for a key may refuse."""


def problems(*errors: type[Exception]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may refuse with these errors: what each says of itself, under its status."""
    responses: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        kind = TABLE[error]
        reason = " ".join((error.__doc__ or "").split("\n\n")[0].split())
        others = responses.get(kind.status.value, {}).get("content", {}).get(MEDIA_TYPE, {}).get("examples", {})
        examples = {**others, error.__name__: {"summary": reason, "value": _example(kind, reason)}}
        responses[kind.status.value] = _described(kind.status, examples)
    return responses


def _described(status: HTTPStatus, examples: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": " ".join(example["summary"] for example in examples.values()),
        "content": {MEDIA_TYPE: {"schema": _SCHEMA, "examples": examples}},
    }
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        described["headers"] = _RETRY_AFTER
    return described


def _example(kind: Kind, detail: str) -> dict[str, Any]:
    return {
        "type": kind.type, "title": kind.title, "status": kind.status.value, "detail": detail, "instance": "/files",
    }  # fmt: skip


_PAGE = Path(__file__).parent / "swagger"

router = APIRouter(include_in_schema=False)
static = StaticFiles(directory=_PAGE)
"""Swagger's own files, from this server: a page that lets people type in keys loads nothing from elsewhere."""


@router.get("/docs")
async def show_docs() -> FileResponse:
    # Swagger's drawing program sets styles in its markup, which a page of ours would not be allowed.
    policy = OWN_PAGES.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
    return FileResponse(_PAGE / "index.html", headers={"Content-Security-Policy": policy})


class Documented(FastAPI):
    """A FastAPI application whose OpenAPI document tells of problems; when it is `locked`, of keys, too."""

    def __init__(self, *, locked: bool, **options: Any) -> None:
        super().__init__(**options)
        self._locked = locked

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for own in ("HTTPValidationError", "ValidationError"):
                schemas.pop(own, None)
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs", {}))
            schemas["Problem"] = problem
            for path in document["paths"].values():
                for operation in path.values():
                    _tell_of_validation(operation["responses"])
                    if not self._locked:
                        operation.pop("security", None)
                    elif "security" in operation:
                        operation["responses"].update(
                            {str(status): told for status, told in problems(*_LOCKED).items()}
                        )
            if not self._locked:
                document["components"].pop("securitySchemes", None)
        assert self.openapi_schema is not None
        return self.openapi_schema


def _tell_of_validation(responses: dict[str, Any]) -> None:
    """Put our 422 in the place of FastAPI's, beside those that the route has itself."""
    found = responses.get("422", {})
    own = found.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {})
    if not own and "application/json" not in found.get("content", {}):
        return
    reason = "The request is not valid; `errors` tells where."
    example = _example(INVALID, reason) | {"errors": [{"where": "body.folderId", "message": "Field required"}]}
    examples = {**own, "Invalid": {"summary": reason, "value": example}}
    responses["422"] = _described(INVALID.status, examples)
