"""Files' records: what finishes an upload, what gives one up, and that never both happen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pymongo
import pytest
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError

from outbox import Draft, Outbox, Streams
from outbox.database import Database
from outbox.errors import NoSuchFile, NoSuchRecord, StillUploading, UploadLost
from outbox.servers import transaction
from outbox.streams.declaration import FILES
from outbox_api.uploads import records as files
from outbox_api.uploads.contents import Measured, Writer
from outbox_api.uploads.reparse import reparse

T = TypeVar("T")
HOUR = timedelta(hours=1)
SIZE = Measured(8, "…")


async def begun(db: Database, *, silent_for: timedelta = timedelta()) -> ObjectId:
    """An upload with some contents, that showed life a while ago."""
    file_id = ObjectId()
    record = await files.begin(db, file_id, "a.txt", "text/plain")
    assert (record.id, record.parsing, record.filename) == (file_id, files.UPLOADING, "a.txt")
    writer = Writer(db, file_id, "a.txt")
    await writer.write(b"contents" * 40_000)
    await writer.finish()
    await db.files.update_one({"_id": file_id}, {"$set": {"updated_at": datetime.now(UTC) - silent_for}})
    return file_id


async def record_of(db: Database, file_id: ObjectId) -> files.File:
    """Whether or not it was given up."""
    found = await db.files.find_one({"_id": file_id}) or {}
    values: dict[str, Any] = {field.name: found.get(field.name) for field in fields(files.File)}
    return files.File(**{**values, "id": file_id})


async def finish(session: AsyncClientSession, db: Database, *file_ids: ObjectId) -> list[files.File]:
    """As the API does; returns what it answers with."""
    drafts = [Draft({"file_id": str(file_id)}, key=str(file_id)) for file_id in file_ids]
    complete = [
        files.Complete(await record_of(db, file_id), "invoices", SIZE, draft.id, datetime(2026, 1, 2, tzinfo=UTC))
        for file_id, draft in zip(file_ids, drafts, strict=True)
    ]
    writes = [one.write(db) for one in complete]
    await Outbox(Streams([FILES]), database=db.name).append_many(session, FILES.name, drafts, writes=writes)
    return [one.file for one in complete]


async def finished(db: Database, file_id: ObjectId) -> files.File:
    async def body(session: AsyncClientSession) -> files.File:
        [file] = await finish(session, db, file_id)
        return file

    return await _committed(db, body)


async def _committed(db: Database, body: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
    async def never() -> bool:
        raise AssertionError("the outcome is known")

    return await transaction.run(db.client, body, happened=never)


async def contents_of(db: Database, file_id: ObjectId) -> int:
    chunks = await db["fs.chunks"].count_documents({"files_id": file_id})
    return chunks + await db["fs.files"].count_documents({"_id": file_id})


async def test_what_is_silent_is_removed_and_nothing_else(db: Database) -> None:
    silent = await begun(db, silent_for=2 * HOUR)
    alive = await begun(db)
    complete = await begun(db)
    await finished(db, complete)
    await db.files.update_one({"_id": complete}, {"$set": {"updated_at": datetime.now(UTC) - 9 * HOUR}})

    assert await files.remove_abandoned(db, older_than=HOUR) == 1
    assert {document["_id"] async for document in db.files.find()} == {alive, complete}
    assert await contents_of(db, silent) == 0
    assert await contents_of(db, alive) == await contents_of(db, complete) == 3
    assert await files.remove_abandoned(db, older_than=HOUR) == 0


async def test_contents_of_others_in_the_bucket_are_not_touched(db: Database) -> None:
    await db["fs.chunks"].insert_one({"files_id": "somebody's", "n": 0, "data": b"x"})
    await db["fs.files"].insert_one({"_id": "somebody's"})
    await files.remove_abandoned(db, older_than=-HOUR)
    assert await db["fs.chunks"].count_documents({}) == await db["fs.files"].count_documents({}) == 1


async def test_a_removal_that_stopped_half_way_is_taken_up(db: Database) -> None:
    file_id = await begun(db)
    await db.files.update_one({"_id": file_id}, {"$set": {"parsing": files.ABANDONED}})
    assert await files.remove_abandoned(db, older_than=HOUR) == 1
    assert await contents_of(db, file_id) == await db.files.count_documents({}) == 0


async def test_an_abandoned_upload_cannot_be_finished_or_touched(db: Database) -> None:
    file_id = await begun(db)
    await db.files.update_one({"_id": file_id}, {"$set": {"parsing": files.ABANDONED}})
    with pytest.raises(NoSuchRecord):
        await finished(db, file_id)
    with pytest.raises(UploadLost):
        await files.touch(db, [file_id])
    with pytest.raises(NoSuchFile):
        await files.find(db, file_id)
    assert (await files.list_page(db)).files == ()


async def test_a_finished_upload_cannot_be_abandoned(db: Database) -> None:
    file_id = await begun(db)
    await finished(db, file_id)
    assert not await files.abandon(db, file_id)
    assert await contents_of(db, file_id) == 3


async def test_abandoning_waits_for_a_transaction_under_way(db: Database) -> None:
    """The two at the same time: the transaction has written and not committed when the upload is given up."""
    file_id = await begun(db, silent_for=2 * HOUR)
    async with db.client.start_session() as session:
        async with await session.start_transaction():
            await finish(session, db, file_id)
            with pytest.raises(PyMongoError) as caught:
                await _briefly(files.remove_abandoned(db, older_than=HOUR))
            assert caught.value.timeout
    assert await files.remove_abandoned(db, older_than=HOUR) == 0
    assert (await files.find(db, file_id)).parsing == files.QUEUED
    assert await contents_of(db, file_id) == 3


async def _briefly(statement: Awaitable[Any]) -> Any:
    with pymongo.timeout(0.3):
        return await statement


async def test_whether_it_happened_waits_for_a_transaction_under_way(db: Database) -> None:
    file_id, message_id = await begun(db), ObjectId()
    async with db.client.start_session() as session, await session.start_transaction():
        await finish(session, db, file_id)
        with pytest.raises(PyMongoError) as caught:
            await _briefly(files.happened(db, file_id, message_id))
        assert caught.value.timeout
    assert not await files.happened(db, file_id, message_id)
    assert not await files.happened(db, file_id, None)


async def test_reparse_refuses_what_is_not_there_or_not_complete(db: Database) -> None:
    complete, coming, gone, unknown = await begun(db), await begun(db), await begun(db), ObjectId()
    await finished(db, complete)
    await db.files.update_one({"_id": gone}, {"$set": {"parsing": files.ABANDONED}})

    async def requeue(*ids: ObjectId) -> None:
        await reparse(db, Outbox(Streams([FILES]), database=db.name), ids)

    with pytest.raises(NoSuchFile) as no_such_file:
        await requeue(complete, unknown, gone, coming)
    assert no_such_file.value.ids == (str(unknown), str(gone))
    with pytest.raises(StillUploading) as still_uploading:
        await requeue(complete, coming)
    assert still_uploading.value.ids == (str(coming),)
    assert (await files.find(db, complete)).version == 1
    await requeue(complete)
    assert (await files.find(db, complete)).version == 2


async def test_pages(db: Database) -> None:
    ids = [ObjectId() for _ in range(5)]
    parsing = ["queued", "parsed", "error: one", "error: two", "abandoned"]
    await db.files.insert_many(
        [
            {"_id": id_, "parsing": p, "folder_id": str(n % 2)}
            for n, (id_, p) in enumerate(zip(ids, parsing, strict=True))
        ]
    )
    page = await files.list_page(db, limit=3)
    assert [file.id for file in page.files] == [ids[3], ids[2], ids[1]]
    page = await files.list_page(db, limit=3, before=page.before)
    assert [file.id for file in page.files] == [ids[0]]
    assert page.before is None

    async def found(**query: Any) -> list[ObjectId]:
        return [file.id for file in (await files.list_page(db, **query)).files]

    assert await found(parsing="error") == [ids[3], ids[2]]
    assert await found(parsing="error: one") == [ids[2]]
    assert await found(parsing="abandoned") == []
    assert await found(folder_id="0") == [ids[2], ids[0]]
    assert await found(folder_id="0", parsing="queued") == [ids[0]]


async def test_a_record_of_an_older_program_can_be_read(db: Database) -> None:
    file_id = (await db.files.insert_one({"parsing": "parsing start"})).inserted_id
    file = await files.find(db, file_id)
    assert (file.parsing, file.version, file.filename, file.size) == ("parsing start", 0, None, None)


async def test_of_several_uploads_one_that_is_lost_keeps_back_all(db: Database) -> None:
    there, lost = await begun(db), await begun(db)

    async def body(session: AsyncClientSession) -> list[files.File]:
        return await finish(session, db, there, lost)

    await db.files.update_one({"_id": lost}, {"$set": {"parsing": "given up"}})
    with pytest.raises(NoSuchRecord):
        await _committed(db, body)
    parsing = [(await files.find(db, file_id)).parsing for file_id in (there, lost)]
    assert parsing == [files.UPLOADING, "given up"]
    await db.files.update_one({"_id": lost}, {"$set": {"parsing": files.UPLOADING}})
    assert await _committed(db, body) == [await files.find(db, file_id) for file_id in (there, lost)]
