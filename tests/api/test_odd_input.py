"""Text that has no UTF-8 form, wherever a client can put it: an answer below 500, never a defect."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from bson import ObjectId

from outbox.database import Database
from tests.api.callers import SHARED
from tests.api.conftest import Serve

ODD = ["\\ud800", "\\udcff", "\\u0000", "\\u001b[2J"]


@pytest.mark.parametrize("text", ODD)
async def test_in_a_body(api: httpx.AsyncClient, text: str) -> None:
    headers = {"Content-Type": "application/json"}
    for method, path, body in (
        ("PUT", "/files/reparse", f'{{"files_id": ["{text}"], "folderId": "x"}}'),
        ("PUT", "/files/reparse", f'{{"files_id": ["{ObjectId()}"], "folderId": "{text}"}}'),
        ("POST", "/outbox/replay", f'{{"key": "{text}", "dry_run": true}}'),
        ("POST", "/outbox/replay", f'{{"stream": "{text}"}}'),
        ("POST", "/outbox/replay", f'{{"{text}": 1}}'),
    ):
        answer = await api.request(method, path, content=body, headers=headers)
        assert answer.status_code < 500, f"{path} {body}: {answer.text}"


@pytest.mark.parametrize("charset", ["punycode", "undefined", "unicode_escape", "idna", "utf-7", "none-such"])
async def test_in_a_form_that_names_its_charset(db: Database, serve: Serve, charset: str) -> None:
    api = await serve(**SHARED)
    form = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n\\ud800..a\r\n--b--\r\n'
    kind = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    assert (await api.post("/dashboard/login", content=form % b"key", headers=kind)).status_code == 415
    open_to_all = await serve()
    for path in ("/dashboard/replay", "/dashboard/streams/file_parsing_queue/pause"):
        assert (await open_to_all.post(path, content=form % b"token", headers=kind)).status_code == 415
    kind["Content-Type"] = f"application/x-www-form-urlencoded; charset={charset}"
    answer = await api.post("/dashboard/login", content=b"key=\\ud800..a&next=\xff", headers=kind)
    assert answer.status_code == 401


@pytest.mark.parametrize("text", ["%FF", "%00", "%ED%A0%80", "%1B%5B2J", "%F0%9F"])
async def test_in_an_address(api: httpx.AsyncClient, db: Database, text: str) -> None:
    for path in (
        f"/outbox/messages?key={text}", f"/outbox/messages?stream={text}", f"/files?folderId={text}",
        f"/files?parsing={text}", f"/outbox/audit?who={text}", f"/dashboard/search?q={text}", f"/dashboard?done={text}",
        f"/{text}", f"/files/{text}", f"/dashboard/{text}", f"/dashboard/replay?key={text}",
    ):  # fmt: skip
        answer = await api.get(path)
        assert answer.status_code < 500, f"{path}: {answer.text}"


@pytest.mark.parametrize("value", [b"\xff", b"\xc3(", b"\x1b[2J"])
async def test_in_a_header(api: httpx.AsyncClient, value: Any) -> None:
    for name in (b"idempotency-key", b"authorization", b"traceparent", b"x-request-id", b"origin", b"cookie"):
        files = {"file": ("a.txt", b"1")}
        answer = await api.post("/files", headers=[(name, value)], files=files, data={"folderId": "x"})
        assert answer.status_code < 500, f"{name!r}: {answer.text}"
