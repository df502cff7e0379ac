"""The routes of files: upload, reparse, look up, read."""

from __future__ import annotations

from typing import Annotated, Any

import pymongo
import structlog
from bson import ObjectId
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from outbox import traces
from outbox.errors import (
    CommitUnknown,
    KeyTaken,
    NoSuchFile,
    NoSuchPriority,
    SchemaError,
    StillUploading,
    Unreachable,
    UploadLost,
)
from outbox.streams.declaration import Priority
from outbox.web.keys import Scope
from outbox_api import bodies, labels, multipart
from outbox_api.access import Asking, Requires, one_key
from outbox_api.documentation import problems
from outbox_api.errors import (
    BodyStalled,
    BodyTooLarge,
    ClientGone,
    Duplicate,
    MalformedForm,
    NotAForm,
    TooManyFiles,
    WriteRefused,
    WrongParts,
)
from outbox_api.ids import Id, read_ids
from outbox_api.metrics import Metrics
from outbox_api.state import Bounded, Current
from outbox_api.upload import Upload
from outbox_api.uploads import contents, idempotency
from outbox_api.uploads import records as files
from outbox_api.uploads.reparse import reparse
from outbox_api.views import FilesView, FileView, FolderId, ReparseRequest, ReparseView, UploadView

log = structlog.get_logger(__name__)

router = APIRouter(
    prefix="/files", tags=["files"], route_class=bodies.JsonRoute, dependencies=[Depends(Requires(Scope.READ))]
)
changes = APIRouter(
    prefix="/files", tags=["files"], route_class=bodies.JsonRoute, dependencies=[Depends(Requires(Scope.UPLOAD))]
)
uploads = APIRouter(prefix="/files", tags=["files"], dependencies=[Depends(Requires(Scope.UPLOAD))])

_UNAVAILABLE = (Unreachable, SchemaError, CommitUnknown)

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "folderId"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary", "minLength": 1},
                            "description": "one file or many; each must have a filename and at least one byte",
                        },
                        "folderId": {
                            "type": "string", "minLength": 1, "maxLength": labels.MAX_LABEL,
                            "pattern": labels.FOLDER_PATTERN, "example": "invoices",
                            "description": "before the files or after them",
                        },
                        "priority": {
                            "type": "string", "enum": [*Priority], "default": Priority.NORMAL,
                            "description": "other than normal: as OUTBOX_STREAMS declares",
                        },
                    },
                }
            }
        },
    }
}  # fmt: skip


@uploads.post(
    "",
    status_code=201,
    response_model=UploadView,
    summary="Upload files",
    dependencies=[Depends(one_key)],
    openapi_extra=_FORM,
    responses={
        201: {
            "headers": {
                "Location": {"description": "the first file", "schema": {"type": "string"}},
                "Idempotent-Replayed": {
                    "description": "`true`: the answer is that of an earlier upload under the same key",
                    "schema": {"type": "string"},
                },
            }
        },
        **problems(
            ClientGone, BodyStalled, UploadLost, Duplicate, WriteRefused, BodyTooLarge, NotAForm,
            MalformedForm, WrongParts, TooManyFiles, NoSuchPriority, KeyTaken, *_UNAVAILABLE,
        ),
    },
)  # fmt: skip
async def upload(
    request: Request,
    state: Current,
    asking: Asking,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern="^[!-~]+$",
            description="makes a repeated upload return the first answer, and make nothing new, for a day",
            examples=["5f0d9b7e-6c1e-4d53-9d4f-0c9e2b3f1a77"],
        ),
    ] = None,
) -> Response:
    """Store files and queue them for parsing: all of the form's, or none.

    The answer comes once a majority of MongoDB has all of it; a message for each file then reaches its stream, whether
    or not Redis is up now. When the outcome is not known (503), upload again under the same `Idempotency-Key`.
    """
    settings = state.settings
    # Before anything else: a body that is too large by its own account is not worth a question to MongoDB.
    body = bodies.limited(request, settings.api_max_upload_bytes, settings.api_idle_seconds)
    pieces = multipart.pieces(body.stream(), request.headers.get("content-type"))
    with pymongo.timeout(settings.api_read_seconds):
        await state.gate.require()
        key = idempotency.owned(asking.name, idempotency_key) if idempotency_key else None
        known = await idempotency.find(state.database, key) if key else None
    with traces.appending(request.headers) as told, state.gate.appending():
        answer, repeated = await Upload(state, key, known, told).take(pieces)
    if not repeated:
        _appended(request, len(answer["files"]))
    headers = {"Location": f"/files/{answer['id']}", **({"Idempotent-Replayed": "true"} if repeated else {})}
    return JSONResponse(answer, 201, headers)


def _appended(request: Request, messages: int) -> None:
    metrics: Metrics = request.state.metrics
    metrics.appended.inc(messages)


@changes.put(
    "/reparse",
    summary="Queue files again",
    responses=problems(
        NoSuchFile, StillUploading, Duplicate, WriteRefused, NoSuchPriority, BodyStalled, BodyTooLarge, *_UNAVAILABLE
    ),
)  # fmt: skip
async def reparse_files(request: Request, state: Current, wanted: ReparseRequest) -> ReparseView:
    """Queue files for parsing again, each in its next version: all of them, or none."""
    file_ids = read_ids(wanted.files_id)
    with pymongo.timeout(state.settings.api_read_seconds):
        await state.gate.require()
    with traces.appending(request.headers) as told, state.gate.appending():
        queued = await reparse(
            state.database,
            state.outbox,
            file_ids,
            folder_id=wanted.folder_id,
            priority=wanted.priority,
            headers=told,
            seconds=state.settings.api_commit_seconds,
        )
    _appended(request, len(queued))
    log.info("files queued again", messages={str(file_id): str(queued[file_id]) for file_id in file_ids})
    return ReparseView(files_id=[str(file_id) for file_id in file_ids], parsing=files.QUEUED)


@router.get("", summary="List files", dependencies=[Bounded], responses=problems(Unreachable))
async def list_files(
    state: Current,
    folder_id: Annotated[FolderId | None, Query(alias="folderId")] = None,
    parsing: Annotated[
        str | None, Query(max_length=1000, description="`error` finds every `error: …`", examples=["queued"])
    ] = None,
    before: Annotated[Id | None, Query(description="from the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=files.MAX_PAGE)] = 50,
) -> FilesView:
    """Files that match all that is given, newest first, a page at a time."""
    page = await files.list_page(
        state.database,
        folder_id=folder_id,
        parsing=parsing,
        before=ObjectId(before) if before else None,
        limit=limit,
    )
    return FilesView.of(page)


@router.get(
    "/{file_id:id}",
    summary="Look up a file",
    dependencies=[Bounded],
    responses=problems(NoSuchFile, Unreachable),
)
async def find_file(state: Current, file_id: Id) -> FileView:
    """A file's record, also while it is still uploading."""
    return FileView.of(await files.find(state.database, ObjectId(file_id)))


@router.get(
    "/{file_id:id}/content",
    summary="Read a file",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The contents as they were uploaded, to be saved and not shown",
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(NoSuchFile, StillUploading, Unreachable),
    },
)
async def read_file(state: Current, file_id: Id) -> Response:
    """The contents of a file, in the type that its uploader named."""
    with pymongo.timeout(state.settings.api_read_seconds):
        file = await files.find(state.database, ObjectId(file_id))
        size = file.size
        if size is None:
            if file.parsing == files.UPLOADING:
                raise StillUploading([file.id])
            # The record of another program: it may never have one.
            size = await contents.length(state.database, file.id)
    if size is None:
        raise NoSuchFile([file.id])
    return StreamingResponse(
        contents.read(state.database, file.id, size),
        headers={
            # As a header: as `media_type`, a text would be said to be in UTF-8, which nobody knows.
            "Content-Type": labels.content_type(file.content_type),
            "Content-Length": str(size),
            "Content-Disposition": labels.attachment(file.filename or "unnamed"),
            # Whatever it is, it is nothing of ours, and must not run as if it were.
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        },
    )
