from __future__ import annotations

import pytest

from outbox import Outbox, Streams
from outbox.database import AUDIT, Database
from outbox.message.document import State
from outbox.operations import audit, dead
from outbox.servers.clock import server_time
from outbox.servers.transaction import run
from outbox_api.uploads.reparse import reparse
from tests.outbox.shelf import Shelf


async def test_a_record_tells_who_did_what_when_by_the_servers_clock(db: Database) -> None:
    before = await server_time(db)
    await audit.record(db, who="anna", action="replay", count=7, details={"stream": "s"})
    [record] = (await audit.page(db)).records
    assert (record.who, record.action, record.count, record.details) == ("anna", "replay", 7, {"stream": "s"})
    assert before <= record.at <= await server_time(db)
    assert record.as_json()["at"].endswith("Z")


async def test_records_are_narrowed_and_paged_newest_first(db: Database) -> None:
    for n in range(5):
        await audit.record(db, who="anna" if n % 2 else "bob", action="retry", details={"n": n})
    first = await audit.page(db, limit=2)
    assert [record.details["n"] for record in first.records] == [4, 3]
    assert [record.details["n"] for record in (await audit.page(db, before=first.before)).records] == [2, 1, 0]
    assert [record.details["n"] for record in (await audit.page(db, who="anna")).records] == [3, 1]
    assert (await audit.page(db, action="discard")).records == ()


async def test_a_record_lives_and_dies_with_its_transaction(db: Database) -> None:
    async def body(session: object) -> None:
        await audit.record(db, who="anna", action="retry", session=session)  # type: ignore[arg-type]
        raise ValueError

    async def happened() -> bool:
        return False

    with pytest.raises(ValueError):  # noqa: PT011
        await run(db.client, body, happened=happened)
    assert (await audit.page(db)).records == ()


async def test_retry_and_discard_are_recorded_once_each(db: Database, shelf: Shelf, streams: Streams) -> None:
    first, second = await shelf.put(State.DEAD, 2)
    await dead.retry(db, streams, first, who="anna")
    await dead.discard(db, streams, second)
    records = (await audit.page(db)).records
    assert [(r.action, r.who, r.details["message"]) for r in records] == [
        ("discard", audit.me(), second), ("retry", "anna", first),
    ]  # fmt: skip
    assert records[1].details["last_error"] == "cannot be sent"


async def test_what_was_refused_is_not_recorded(db: Database, shelf: Shelf, streams: Streams) -> None:
    [pending] = await shelf.put(State.PENDING)
    with pytest.raises(Exception, match="only a dead message"):
        await dead.retry(db, streams, pending)
    assert await db[AUDIT].count_documents({}) == 0


async def test_a_reparse_is_recorded_only_for_an_operator(db: Database, shelf: Shelf, streams: Streams) -> None:
    outbox = Outbox(streams, database=db.name)
    file = shelf.files
    inserted = await file.insert_one({"parsing": "parsed", "folder_id": "x"})
    await reparse(db, outbox, [inserted.inserted_id])
    assert await db[AUDIT].count_documents({}) == 0
    await reparse(db, outbox, [inserted.inserted_id], who="anna")
    [record] = (await audit.page(db)).records
    assert (record.action, record.count, record.details["files"]) == ("enqueue", 1, [inserted.inserted_id])
