"""One upload, from the first byte of its body to the commit that queues its files.

Contents go to GridFS while they come, outside of any transaction. Then one transaction makes the records `queued`,
appends a message for each, and remembers the idempotency key. Redis has no part in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pymongo
import structlog
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError, PyMongoError

from outbox.draft import Draft
from outbox.errors import CommitUnknown, InvalidMessage, NoSuchRecord, UploadLost
from outbox.servers import transaction
from outbox.streams.declaration import FILE_STREAM, Priority
from outbox.writes import Write
from outbox_api import labels, write_refusals
from outbox_api.errors import TooManyFiles, WrongParts
from outbox_api.multipart import End, Part, Piece
from outbox_api.state import State
from outbox_api.uploads import contents, idempotency
from outbox_api.uploads import records as files
from outbox_api.uploads.contents import Measured
from outbox_api.uploads.idempotency import Remembered
from outbox_api.uploads.records import Complete
from outbox_api.views import FileView, UploadView

log = structlog.get_logger(__name__)

REMOVAL_SECONDS = 10.0


@dataclass(slots=True)
class Incoming:
    """A file of the form. `contents` is where its bytes go."""

    id: ObjectId
    label: str
    contents: contents.Measure
    measured: Measured | None = None
    begun: files.File | None = None
    _begun_at: float = 0.0

    def has_begun(self, record: files.File) -> None:
        self.begun, self._begun_at = record, time.monotonic()

    def server_time(self) -> datetime:
        """Now, by the server's clock as it was at the beginning, to the millisecond."""
        created_at = _begun(self).created_at
        assert created_at, "the server has just set it"
        return created_at + timedelta(milliseconds=int(1000 * (time.monotonic() - self._begun_at)))


@dataclass(slots=True)
class Form:
    """What has come so far."""

    files: list[Incoming] = field(default_factory=list)
    folder_id: str | None = None
    priority: Priority | None = None


class Upload:
    """Takes in one form. With `known`, its idempotency key was seen before: contents are measured and not stored."""

    def __init__(self, state: State, key: str | None, known: Remembered | None, headers: Mapping[str, str]) -> None:
        self._state = state
        self._key = key
        self._known = known
        self._headers = headers
        self._form = Form()
        self._text = b""
        self._touched = time.monotonic()

    async def take(self, pieces: AsyncIterator[Piece]) -> tuple[dict[str, Any], bool]:
        """The answer, and whether it is that of an earlier upload under the same key.

        When it returns, the files are queued for good. When it raises, they are not, and what came of them is removed,
        now or by the API's job; only after CommitUnknown either may be the case.
        """
        try:
            async with aclosing(pieces):  # type: ignore[type-var]
                await self._read(pieces)
            folder_id = self._check()
            contents_told = [(f.label, _measured(f)) for f in self._form.files]
            fingerprint = idempotency.fingerprint(folder_id, contents_told, self._priority)
            if self._known:
                return self._known.repeat(fingerprint), True
            try:
                return await self._commit(folder_id, fingerprint), False
            except DuplicateKeyError:
                # If the same upload, made at the same time, was faster, its answer is ours. The key says so, whatever
                # index it was that did not allow a second one.
                winner = await idempotency.find(self._state.database, self._key) if self._key else None
                if winner is None:
                    raise
                answer = winner.repeat(fingerprint)
                await self._discard()
                return answer, True
        except DuplicateKeyError:
            await self._discard()
            raise
        except (PyMongoError, CommitUnknown, asyncio.CancelledError) as error:
            if write_refusals.is_lasting(error):
                await self._discard()
            # Else MongoDB does not answer, or there is no time left: the API's job removes what is left.
            raise
        except BaseException:
            await self._discard()
            raise

    async def _read(self, pieces: AsyncIterator[Piece]) -> None:
        part = Part("", None, None)
        async for piece in pieces:
            # For each piece, not for all of them: a large file may take hours, but MongoDB no longer than this.
            with pymongo.timeout(self._state.settings.api_commit_seconds):
                match piece:
                    case Part():
                        part = piece
                        await self._begin(part)
                    case bytes() if part.name == "file":
                        await self._form.files[-1].contents.write(piece)
                    case bytes():
                        self._add_to_text(part.name, piece)
                    case End() if part.name == "file":
                        await self._end()
                    case End() if part.name == "priority":
                        self._form.priority = self._read_priority()
                    case End():
                        self._form.folder_id = _folder(self._text)
                await self._touch()

    async def _begin(self, part: Part) -> None:
        match part.name:
            case "file":
                await self._begin_file(part)
            case "folderId" if self._form.folder_id is not None:
                raise WrongParts("folderId is there twice")
            case "priority" if self._form.priority is not None:
                raise WrongParts("priority is there twice")
            case "folderId" | "priority":
                self._text = b""
            case name:
                raise WrongParts(
                    f"part {name!r:.100} is not known here: send `file`, once or more, `folderId`, and `priority` "
                    "if it is not normal"
                )

    def _add_to_text(self, name: str, piece: bytes) -> None:
        self._text += piece
        if len(self._text) > 4 * labels.MAX_LABEL:
            raise WrongParts(_FOLDER if name == "folderId" else f"{name} is too long")

    def _read_priority(self) -> Priority:
        """Raises NoSuchPriority as well, before the rest of the form has come."""
        try:
            priority = Priority.read(self._text.decode(errors="replace"))
        except InvalidMessage as error:
            raise WrongParts(str(error)) from None
        _ = self._state.streams.serving(FILE_STREAM, priority)
        return priority

    @property
    def _priority(self) -> Priority:
        return self._form.priority or Priority.NORMAL

    async def _begin_file(self, part: Part) -> None:
        if part.filename is None:
            raise WrongParts("part `file` has no filename: send it as a file")
        if len(self._form.files) == self._state.settings.api_max_files:
            raise TooManyFiles(self._state.settings.api_max_files)
        file_id, label = ObjectId(), labels.file_label(part.filename)
        if self._known:
            self._form.files.append(Incoming(file_id, label, contents.Measure()))
            return
        # First the record: from here on there is something to remove.
        self._form.files.append(Incoming(file_id, label, contents.Writer(self._state.database, file_id, label)))
        content_type = labels.content_type(part.content_type)
        self._form.files[-1].has_begun(await files.begin(self._state.database, file_id, label, content_type))

    async def _end(self) -> None:
        file = self._form.files[-1]
        file.measured = await file.contents.finish()
        if not file.measured.size:
            raise WrongParts(f"file {file.label!r} is empty")

    async def _touch(self) -> None:
        now = time.monotonic()
        if not self._known and self._form.files and now - self._touched > self._state.settings.sign_seconds:
            await files.touch(self._state.database, [file.id for file in self._form.files])
            self._touched = now

    def _check(self) -> str:
        if not self._form.files:
            raise WrongParts("part `file` is missing")
        if self._form.folder_id is None:
            raise WrongParts("part `folderId` is missing")
        return self._form.folder_id

    async def _commit(self, folder_id: str, fingerprint: str) -> dict[str, Any]:
        database = self._state.database
        first = self._form.files[0].id
        drafts, complete = [], []
        for file in self._form.files:
            fields = {"file_id": str(file.id), "filename": file.label, "folder_id": folder_id}
            drafts.append(Draft(fields, str(file.id), self._headers))
            complete.append(Complete(_begun(file), folder_id, _measured(file), drafts[-1].id, file.server_time()))
        views = [FileView.of(one.file) for one in complete]
        answer = UploadView(id=str(first), parsing=files.QUEUED, files=views).model_dump(mode="json")
        writes: list[Write] = [one.write(database) for one in complete]
        if self._key:
            writes.append(idempotency.remember(database, Remembered(self._key, fingerprint, answer)))

        async def body(session: AsyncClientSession) -> None:
            try:
                await self._state.outbox.append_many(
                    session, FILE_STREAM, drafts, priority=self._priority, writes=writes
                )
            except NoSuchRecord:
                raise UploadLost(files.LOST) from None

        await transaction.run(
            self._state.mongo,
            body,
            happened=lambda: files.happened(database, first, drafts[0].id),
            seconds=self._state.settings.api_commit_seconds,
        )
        log.info("files queued", file_ids=[draft.key for draft in drafts], folder_id=folder_id)
        return answer

    async def _discard(self) -> None:
        """Remove what came. Never raises: what cannot be removed now, the API's job removes later."""
        if self._known:
            return
        for file in self._form.files:
            try:
                with pymongo.timeout(REMOVAL_SECONDS):
                    await files.abandon(self._state.database, file.id)
            except PyMongoError as error:
                log.warning("abandoned upload left for later", file_id=str(file.id), reason=str(error)[:200])
                return


def _folder(text: bytes) -> str:
    try:
        return labels.folder_id(text.decode())
    except ValueError:  # UnicodeDecodeError too
        raise WrongParts(_FOLDER) from None


_FOLDER = f"folderId: {labels.FOLDER_RULE}"


def _begun(file: Incoming) -> files.File:
    assert file.begun is not None, "a file that is stored has a record"
    return file.begun


def _measured(file: Incoming) -> Measured:
    assert file.measured is not None, "the form was read to its end"
    return file.measured
