from __future__ import annotations

import json
from datetime import datetime

import pytest
from bson import Binary, DatetimeMS, ObjectId, Timestamp

from outbox import NoSuchMessage, State, UsageError
from outbox.database import Database
from outbox.operations import messages
from tests.outbox.shelf import Shelf


async def test_a_message_is_found_by_its_id(db: Database, shelf: Shelf) -> None:
    [id_] = await shelf.put(State.DEAD)
    assert (await messages.find(db, id_))["_id"] == id_
    with pytest.raises(NoSuchMessage, match="there is no message"):
        await messages.find(db, ObjectId())


@pytest.mark.parametrize("text", ["", "zz", "65a1f0c2e4b0a1b2c3d4e5f", "65a1f0c2e4b0a1b2c3d4e5f6 "])
def test_what_cannot_be_an_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="24 hexadecimal digits"):
        messages.read_id(text)


async def test_pages_hold_each_message_once_the_newest_first(db: Database, shelf: Shelf) -> None:
    ids = await shelf.put(State.PENDING, 5) + await shelf.put(State.DEAD, 2)
    seen, before, pages = [], None, 0
    while True:
        page = await messages.list_page(db, before=before, limit=3)
        seen += [message["_id"] for message in page.messages]
        before, pages = page.before, pages + 1
        if before is None:
            break
    assert seen == sorted(ids, reverse=True)
    assert pages == 3


async def test_a_full_last_page_is_known_to_be_the_last(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PENDING, 3)
    assert (await messages.list_page(db, limit=3)).before is None


async def test_filters_hold_together(db: Database, shelf: Shelf) -> None:
    [wanted] = await shelf.put(State.DEAD, key="a")
    await shelf.put(State.DEAD, key="b")
    await shelf.put(State.PENDING, key="a")
    await shelf.put(State.DEAD, key="a", stream="other")
    page = await messages.list_page(db, state=State.DEAD, key="a", stream="file_parsing_queue")
    assert [message["_id"] for message in page.messages] == [wanted]


async def test_a_page_is_bounded(db: Database, shelf: Shelf) -> None:
    await shelf.put(State.PENDING, 3)
    assert len((await messages.list_page(db, limit=0)).messages) == 1
    assert len((await messages.list_page(db, limit=10**9)).messages) == 3


async def test_a_message_that_no_strict_reader_takes_can_be_looked_at(db: Database, shelf: Shelf) -> None:
    odd = {"date": DatetimeMS(2**62), "bytes": Binary(b"\xff"), "number": 1.5, "none": float("nan"), "list": [1, None]}
    [id_] = await shelf.put(State.DEAD, fields=odd, position="none")
    shown = messages.plain(await messages.find(db, id_))
    fields = json.loads(json.dumps(shown, allow_nan=False))["fields"]
    assert (fields["list"], fields["number"], fields["none"]) == ([1, None], 1.5, "nan")


def test_a_plain_message_holds_what_json_can_hold() -> None:
    id_ = ObjectId()
    shown = messages.plain(
        {"_id": id_, "created_at": datetime(2026, 1, 31, 12), "position": Timestamp(5, 6), "last_error": None}  # noqa: DTZ001
    )
    assert shown == {
        "id": str(id_), "created_at": "2026-01-31T12:00:00.000Z", "position": "5:6", "last_error": None,
    }  # fmt: skip
