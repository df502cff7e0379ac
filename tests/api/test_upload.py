"""Uploads: what is stored, queued and answered; and what is refused and leaves nothing."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from bson import ObjectId

from outbox.database import Database
from outbox.embedded import RedisServer
from tests.api.conftest import Serve
from tests.waiting import eventually

FOLDER = {"folderId": "invoices"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def nothing_left(db: Database) -> bool:
    counts = [await db[name].count_documents({}) for name in ("files", "fs.files", "fs.chunks", "outbox")]
    return counts == [0, 0, 0, 0]


def form(*parts: tuple[str, bytes], boundary: str = "b") -> bytes:
    """A form of parts, each with its Content-Disposition as it is."""
    lines = b"".join(
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (boundary.encode(), head.encode(), body)
        for head, body in parts
    )
    return lines + b"--%s--\r\n" % boundary.encode()


FILE = ('name="file"; filename="a.txt"', b"contents")
IN_FOLDER = ('name="folderId"', b"invoices")
AS_FORM = {"Content-Type": "multipart/form-data; boundary=b"}


async def test_an_upload_is_stored_and_queued(api: httpx.AsyncClient, db: Database) -> None:
    contents = bytes(range(256)) * 5000  # over several chunks
    answer = await api.post(
        "/files",
        files={"file": ("report.pdf", contents, "application/pdf")},
        data=FOLDER,
        headers={"traceparent": TRACE},
    )

    assert answer.status_code == 201
    told = answer.json()
    assert told["parsing"] == "queued"
    assert answer.headers["location"] == f"/files/{told['id']}"
    (file,) = told["files"]
    assert file["id"] == told["id"]
    assert file["filename"] == "report.pdf"
    assert file["folder_id"] == "invoices"
    assert file["content_type"] == "application/pdf"
    assert file["size"] == len(contents)
    assert file["sha256"] == hashlib.sha256(contents).hexdigest()
    assert (file["parsing"], file["version"]) == ("queued", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", file["created_at"])

    assert (await api.get(f"/files/{told['id']}")).json() == file
    message = await db.outbox.find_one({})
    assert message
    assert message["stream"] == "file_parsing_queue"
    assert message["key"] == told["id"]
    assert message["fields"] == {"file_id": told["id"], "filename": "report.pdf", "folder_id": "invoices"}
    assert message["headers"] == {"traceparent": TRACE}
    record = await db.files.find_one({"_id": ObjectId(told["id"])})
    assert record
    assert record["message_id"] == message["_id"]


async def test_many_files_are_one_upload(api: httpx.AsyncClient, db: Database) -> None:
    files = [("file", (f"{number}.txt", b"x" * number)) for number in (1, 2, 3)]
    told = (await api.post("/files", files=files, data=FOLDER)).json()

    assert [file["filename"] for file in told["files"]] == ["1.txt", "2.txt", "3.txt"]
    assert told["id"] == told["files"][0]["id"]
    messages = await db.outbox.find().sort("position").to_list()
    assert [message["key"] for message in messages] == [file["id"] for file in told["files"]]


@pytest.mark.parametrize("order", [[FILE, IN_FOLDER], [IN_FOLDER, FILE]])
async def test_the_folder_may_come_first_or_last(order: list[tuple[str, bytes]], api: httpx.AsyncClient) -> None:
    answer = await api.post("/files", content=form(*order), headers=AS_FORM)
    assert answer.status_code == 201
    assert answer.json()["files"][0]["folder_id"] == "invoices"


async def test_a_form_may_come_in_any_pieces(api: httpx.AsyncClient) -> None:
    body = form(('name="file"; filename="a.txt"', b"\r\n--\r\n--a\r\n\r\n--"), IN_FOLDER)

    async def bytewise() -> AsyncIterator[bytes]:
        for number in range(len(body)):
            yield body[number : number + 1]

    told = (await api.post("/files", content=bytewise(), headers=AS_FORM)).json()
    assert (await api.get(f"/files/{told['id']}/content")).content == b"\r\n--\r\n--a\r\n\r\n--"


async def test_an_upload_is_visible_while_it_comes(api: httpx.AsyncClient, db: Database) -> None:
    more = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        body = form(FILE, IN_FOLDER)
        yield body[:-40]
        await more.wait()
        yield body[-40:]

    async def uploading() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await api.get("/files", params={"parsing": "uploading"})).json()["files"]
        return found

    upload = asyncio.create_task(api.post("/files", content=slowly(), headers=AS_FORM))
    (file,) = await eventually(uploading)
    assert file["filename"] == "a.txt"
    assert (file["size"], file["folder_id"], file["version"]) == (None, None, 0)
    content = await api.get(f"/files/{file['id']}/content")
    assert content.status_code == 409
    assert await db.outbox.count_documents({}) == 0
    more.set()
    assert (await upload).json()["id"] == file["id"]
    assert await uploading() == []


async def test_uploads_do_not_need_redis(api: httpx.AsyncClient, db: Database, redis_server: RedisServer) -> None:
    redis_server.stop()
    answer = await api.post("/files", files={"file": ("a.txt", b"a")}, data=FOLDER)
    assert answer.status_code == 201
    assert await db.outbox.count_documents({"state": "pending"}) == 1


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (form(FILE), 422, "`folderId` is missing"),
        (form(IN_FOLDER), 422, "`file` is missing"),
        (b"--b--\r\n", 422, "`file` is missing"),
        (form(('name="file"; filename="a"', b""), IN_FOLDER), 422, "empty"),
        (form(FILE, ('name="file"; filename="b"', b""), IN_FOLDER), 422, "'b' is empty"),
        (form(FILE, ('name="folderId"', b"")), 422, "folderId: give 1 to 255"),
        (form(FILE, ('name="folderId"', b"x" * 2000)), 422, "folderId: give 1 to 255"),
        (form(FILE, ('name="folderId"', b"a\nb")), 422, "folderId: give 1 to 255"),
        (form(FILE, ('name="folderId"', b"\xff")), 422, "folderId: give 1 to 255"),
        (form(FILE, IN_FOLDER, IN_FOLDER), 422, "twice"),
        (form(FILE, IN_FOLDER, ('name="folder"', b"x")), 422, "'folder' is not known"),
        (form(('name="file"', b"contents"), IN_FOLDER), 422, "no filename"),
        (form(("filename=a", b"contents"), IN_FOLDER), 422, "Content-Disposition"),
        (form(FILE, IN_FOLDER)[:-6], 422, "last boundary"),
        (b"not a form", 422, "cannot be read"),
        (b"", 422, "last boundary"),
        (form(("x" * 10_000, b"")), 422, "cannot be read"),
    ],
)
async def test_what_is_no_upload_leaves_nothing(
    body: bytes, status: int, detail: str, api: httpx.AsyncClient, db: Database
) -> None:
    answer = await api.post("/files", content=body, headers=AS_FORM)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert detail in problem["detail"]
    assert problem["status"] == status
    assert problem["instance"] == "/files"
    assert await nothing_left(db)


@pytest.mark.parametrize(
    ("given", "status"),
    [("application/json", 415), ("multipart/mixed; boundary=b", 415), (None, 415), ("multipart/form-data", 422)],
)
async def test_another_content_type_is_refused(given: str | None, status: int, api: httpx.AsyncClient) -> None:
    headers = {"Content-Type": given} if given else {}
    answer = await api.post("/files", content=form(FILE, IN_FOLDER), headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("encoding", ["base64", "Quoted-Printable", " BASE64 ", "x-uuencode"])
@pytest.mark.parametrize("part", ['name="file"; filename="a.txt"', 'name="folderId"'])
async def test_a_part_that_is_encoded_is_refused(
    encoding: str, part: str, api: httpx.AsyncClient, db: Database
) -> None:
    encoded = (f"{part}\r\nContent-Transfer-Encoding: {encoding}", b"aGVsbG8=")
    other = IN_FOLDER if "file" in part else FILE
    answer = await api.post("/files", content=form(other, encoded), headers=AS_FORM)
    assert answer.status_code == 422
    assert f"Content-Transfer-Encoding {encoding.strip()!r}" in answer.json()["detail"]
    assert await nothing_left(db)


@pytest.mark.parametrize("encoding", ["binary", "8bit", "7BIT", ""])
async def test_a_part_that_says_it_is_not_encoded_is_taken(encoding: str, api: httpx.AsyncClient, db: Database) -> None:
    file = (f"{FILE[0]}\r\nContent-Transfer-Encoding: {encoding}", b"aGVsbG8=")
    answer = await api.post("/files", content=form(IN_FOLDER, file), headers=AS_FORM)
    assert answer.status_code == 201
    assert (await api.get(f"/files/{answer.json()['id']}/content")).content == b"aGVsbG8="


@pytest.mark.parametrize(
    "twice", ["Content-Transfer-Encoding: base64\r\ncontent-transfer-encoding: binary", "Content-Type: a/b\r\n" * 2]
)
async def test_a_part_with_a_header_twice_is_refused(twice: str, api: httpx.AsyncClient, db: Database) -> None:
    file = (f"{FILE[0]}\r\n{twice}".strip(), b"aGVsbG8=")
    answer = await api.post("/files", content=form(IN_FOLDER, file), headers=AS_FORM)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:outbox:malformed-form")
    assert "twice" in answer.json()["detail"]
    assert await nothing_left(db)


async def test_a_filename_in_the_extended_form_alone_is_refused(api: httpx.AsyncClient, db: Database) -> None:
    """RFC 7578 forbids it in forms, and readers of both forms could be shown two names."""
    for name, status in (("filename*=UTF-8''a.txt", 422), ("filename=\"b.txt\"; filename*=UTF-8''a.txt", 201)):
        file = (f'name="file"; {name}', b"contents")
        answer = await api.post("/files", content=form(IN_FOLDER, file), headers=AS_FORM)
        assert answer.status_code == status
    assert answer.json()["files"][0]["filename"] == "b.txt"


async def test_too_many_files_are_refused(serve: Serve, db: Database) -> None:
    api = await serve(api_max_files=2)
    answer = await api.post("/files", content=form(FILE, FILE, FILE, IN_FOLDER), headers=AS_FORM)
    assert answer.status_code == 422
    assert await nothing_left(db)


@pytest.mark.parametrize("tells", [True, False])
async def test_a_large_body_is_refused_and_leaves_nothing(tells: bool, serve: Serve, db: Database) -> None:
    api = await serve(api_max_upload_bytes=3_000_000)

    async def large() -> AsyncIterator[bytes]:
        yield form(FILE)[:-10]
        for _ in range(80):
            yield b"x" * 50_000

    headers = {**AS_FORM, **({"Content-Length": "4000000"} if tells else {})}
    answer = await api.post("/files", content=large(), headers=headers)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert "3000000 bytes" in answer.json()["detail"]
    assert await nothing_left(db)


async def test_a_body_that_stops_coming_is_refused(serve: Serve, db: Database) -> None:
    api = await serve(api_idle_seconds=0.2)

    async def stalled() -> AsyncIterator[bytes]:
        yield form(FILE)[:-10]
        await asyncio.Event().wait()

    answer = await api.post("/files", content=stalled(), headers=AS_FORM)
    assert answer.status_code == 408
    assert await nothing_left(db)


async def test_a_slow_upload_shows_life(serve: Serve, db: Database) -> None:
    api = await serve(api_touch_seconds=1e-9)

    async def slowly() -> AsyncIterator[bytes]:
        body = form(FILE, IN_FOLDER)
        yield body[:-40]
        record = await eventually(lambda: db.files.find_one({}))
        for byte in body[-40:]:
            yield bytes([byte])
        assert record
        assert await db.files.find_one({"updated_at": {"$gt": record["updated_at"]}})

    assert (await api.post("/files", content=slowly(), headers=AS_FORM)).status_code == 201


async def test_an_upload_taken_for_abandoned_does_not_come_back(serve: Serve, db: Database) -> None:
    api = await serve()

    async def interrupted() -> AsyncIterator[bytes]:
        body = form(FILE, IN_FOLDER)
        yield body[:-40]
        record = await eventually(lambda: db.files.find_one({}))
        assert record
        await db.files.update_one({"_id": record["_id"]}, {"$set": {"parsing": "abandoned"}})
        yield body[-40:]

    answer = await api.post("/files", content=interrupted(), headers=AS_FORM)
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:outbox:upload-lost"
    assert await nothing_left(db)
