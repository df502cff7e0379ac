"""What the API answers: the shapes, and how they come from what is stored."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from bson import ObjectId
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.config import JsonDict

from outbox.errors import UsageError
from outbox.message.document import State
from outbox.message.transitions import REPLAYABLE
from outbox.operations import jobs
from outbox.operations.selection import Selection
from outbox.servers.clock import as_text, read_time
from outbox.streams.declaration import Priority
from outbox_api import labels
from outbox_api.ids import Id, read_ids
from outbox_api.stream_views import PauseView, QueueView
from outbox_api.strict import Strict
from outbox_api.uploads.records import File, Page

FolderId = Annotated[
    str, Field(min_length=1, max_length=labels.MAX_LABEL, pattern=labels.FOLDER_PATTERN, examples=["invoices"])
]

Time = Annotated[
    datetime,
    PlainSerializer(as_text, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]

_FILE: JsonDict = {
    "id": "66f0c2a51f2b9c0d8e4a7b31", "filename": "report.pdf", "folder_id": "invoices", "size": 48213,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "content_type": "application/pdf",
    "parsing": "queued", "version": 1,
    "created_at": "2025-01-31T09:30:00.120Z", "updated_at": "2025-01-31T09:30:00.250Z",
}  # fmt: skip


class FileView(BaseModel):
    """A file as it is recorded."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _FILE})

    id: str
    filename: str | None = Field(description="a label that the client chose: text to show, never a path")
    folder_id: str | None = Field(description="null until an upload is complete")
    size: int | None = Field(description="bytes; null until an upload is complete")
    sha256: str | None
    content_type: str | None = Field(description="what the client said")
    parsing: str | None = Field(description="`uploading`, `queued`, `parsed`, or `error: ` and the reason")
    version: int = Field(description="rises with each upload or reparse")
    created_at: Time | None
    updated_at: Time | None

    @classmethod
    def of(cls, file: File) -> Self:
        return cls.model_validate({**{name: getattr(file, name) for name in cls.model_fields}, "id": str(file.id)})


class UploadView(BaseModel):
    """The answer to an upload: it is committed, and will reach a worker. `id` is the first file's."""

    model_config = ConfigDict(json_schema_extra={"example": {"id": _FILE["id"], "parsing": "queued", "files": [_FILE]}})

    id: str
    parsing: str
    files: list[FileView]


class FilesView(BaseModel):
    """A page of files, newest first."""

    files: list[FileView]
    before: str | None = Field(description="pass it as `before` to get the next page; null after the last")

    @classmethod
    def of(cls, page: Page) -> Self:
        files = [FileView.of(file) for file in page.files]
        return cls(files=files, before=str(page.before) if page.before else None)


class ReparseRequest(Strict):
    model_config = ConfigDict(json_schema_extra={"example": {"files_id": [_FILE["id"]], "folderId": "invoices"}})

    files_id: list[Id] = Field(min_length=1, max_length=1000, description="one given twice counts once")
    folder_id: FolderId = Field(alias="folderId")
    priority: Priority = Field(default=Priority.NORMAL, description="other than normal: as OUTBOX_STREAMS declares")


class ReparseView(BaseModel):
    """All of these files are queued again."""

    files_id: list[str]
    parsing: str


class MessageView(BaseModel):
    """A message as it is stored. More members may come with what happened to it."""

    model_config = ConfigDict(extra="allow")

    id: str
    state: State
    stream: str
    key: str
    fields: dict[str, Any] = Field(description="what the worker reads")
    attempts: int = Field(description="how often it was published")


class StatusView(BaseModel):
    """Everything at a glance, by the clock of the database."""

    model_config = ConfigDict(extra="allow")

    at: str
    messages: dict[State, int] = Field(description="how many there are in each state")
    bounds: dict[State, Literal["at_least", "at_most"]] = Field(
        description="states of which that is not exact: there are at least, or at most, so many"
    )
    oldest_pending_seconds: float | None
    streams: dict[str, QueueView]
    partitions: list[dict[str, Any]]
    relays: list[dict[str, Any]]
    paused: list[PauseView]
    workers: list[dict[str, Any]]
    redis: dict[str, Any]


class MessagesView(BaseModel):
    """A page of messages, newest first."""

    messages: list[MessageView]
    before: str | None = Field(description="pass it as `before` to get the next page; null after the last")


def _time(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("a time is text in ISO 8601, with its zone")
    try:
        return read_time(value)
    except UsageError as error:
        raise ValueError(str(error)) from None


Moment = Annotated[AwareDatetime, BeforeValidator(_time, json_schema_input_type=AwareDatetime)]
"""Not as pydantic reads it by itself, for which "2026" is a number of seconds, and so a moment in 1970."""


class ReplayRequest(Strict):
    """Messages that match all that is given. Something must be given: there is no replay of everything by mistake."""

    model_config = ConfigDict(json_schema_extra={"example": {"since": "2025-01-31T09:00:00Z", "dry_run": True}})

    since: Moment | None = Field(default=None, description="appended at this time or later")
    until: Moment | None = Field(default=None, description="appended before this time")
    stream: str | None = Field(default=None, min_length=1, max_length=512)
    key: str | None = Field(default=None, min_length=1, max_length=512)
    states: list[Literal[State.PUBLISHED, State.COMPLETED]] | None = Field(default=None, min_length=1, max_length=2)
    file: Id | None = Field(default=None, description="messages about this file")
    ids: list[Id] | None = Field(default=None, min_length=1, max_length=10_000, fail_fast=True)
    rate: float | None = Field(
        default=None, ge=jobs.MIN_RATE, le=jobs.MAX_RATE, description="messages a second, at most"
    )
    dry_run: bool = Field(default=False, description="only count")

    def selection(self) -> Selection:
        return Selection(
            self.since, self.until, self.stream, self.key,
            tuple(dict.fromkeys(self.states)) if self.states else REPLAYABLE, tuple(read_ids(self.ids or ())),
            ObjectId(self.file) if self.file else None,
        )  # fmt: skip


class DryRunView(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"selected": 120, "replayed": 0}})

    selected: int | None = Field(description="how many match; null: too many to count in time")
    replayed: Literal[0]


_JOB: JsonDict = {
    "id": "66f0c2a51f2b9c0d8e4a7b31", "phase": "running", "who": "anna", "selected": 120, "replayed": 40,
    "left_out": 0, "failure": None, "rate": 2000,
    "selection": {"since": "2025-01-31T09:00:00.000Z", "states": ["published", "completed"]}, "request": None,
    "owner": "relay-1-7-5f0c", "created_at": "2025-01-31T11:00:00.000Z", "started_at": "2025-01-31T11:00:00.420Z",
    "finished_at": None,
}  # fmt: skip


class JobView(BaseModel):
    """A replay that was asked for, and how far it is."""

    model_config = ConfigDict(json_schema_extra={"example": _JOB})

    id: str
    phase: jobs.Phase = Field(description="`waiting` for a relay, `running`, `done` or `cancelled`")
    who: str = Field(description="who asked for it")
    selected: int | None = Field(
        description="how many matched when it was asked for; null: too many to count in time, until it is done"
    )
    replayed: int = Field(description="how many have been made pending so far")
    left_out: int = Field(
        description="how many were left out so far, because they are so large that they cannot be changed; "
        "`GET /outbox/audit?action=replay%20left%20out` names them"
    )
    failure: str | None = Field(description="why the last try came to nothing; while it is open, it is tried again")
    rate: float = Field(description="messages a second, at most")
    selection: dict[str, Any]
    request: str | None = Field(description="the Idempotency-Key it was asked for under")
    owner: str | None = Field(description="the relay that works on it")
    created_at: str
    started_at: str | None
    finished_at: str | None

    @classmethod
    def of(cls, job: jobs.Job) -> Self:
        return cls.model_validate(job.as_json())


class JobsView(BaseModel):
    """The latest replays, newest first."""

    replays: list[JobView]


class RecordView(BaseModel):
    """What an operator did."""

    id: str
    at: str
    who: str = Field(description="an API key's name, `user@host` for a command, `anyone` where no key is asked for")
    action: str
    count: int | None = Field(description="of how many messages or files; null: not counted")
    details: dict[str, Any]


class AuditView(BaseModel):
    """A page of what operators did, newest first."""

    records: list[RecordView]
    before: str | None = Field(description="pass it as `before` to get the next page; null after the last")


class ReadyView(BaseModel):
    """Whether uploads work. `degraded`: they do, and their messages wait in MongoDB until Redis is back."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"status": "ready", "checks": {"mongodb": "ok", "redis": "ok"}, "warnings": []}}
    )

    status: Literal["ready", "degraded"]
    checks: dict[str, str] = Field(description="`ok`, or what is wrong")
    warnings: list[str] = Field(description="what an operator should change although everything works so far")


class LiveView(BaseModel):
    status: Literal["live"]
