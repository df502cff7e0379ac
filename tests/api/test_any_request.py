"""Whatever text a request holds, wherever it holds it: every route answers, and never with a 500."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from outbox.database import Database
from outbox.message.document import State
from tests.api.every_route import ROUTES
from tests.outbox.shelf import Shelf
from tests.strategies import examples, jsons, texts

ID = "507f1f77bcf86cd799439011"
QUERY = {
    "state": ("dead", "published"), "stream": ("file_parsing_queue",), "key": ("k",), "limit": ("5",),
    "before": (ID,), "who": ("me",), "action": ("retry",), "folderId": ("a",),
    "parsing": ("queued",),
    "q": (ID, "f"), "since": ("1h", "2026-01-31T14:00+02:00"), "until": ("now",), "done": ("1",),
    "next": ("/dashboard",),
}  # fmt: skip
HEADERS = {
    "Idempotency-Key": ("k",), "traceparent": ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",),
    "Origin": ("http://api", "null"), "Cookie": ("outbox_session=a.b.c",), "Authorization": ("Bearer a",),
    "Range": ("bytes=0-1",),
    "If-None-Match": ('"a"',), "Accept": ("application/json",), "X-Forwarded-For": ("10.0.0.1",),
    "Last-Event-ID": ("1",),
    "Content-Type": ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"),
}  # fmt: skip
BODIES = [
    {"files_id": [ID], "folderId": "a", "priority": "high"},
    {"since": "2026-01-31T14:00:00Z", "until": "2026-02-01T00:00:00Z", "stream": "file_parsing_queue", "key": "k",
     "states": ["published"], "ids": [ID], "dry_run": True, "rate": 5},
    {"reason": "a"},
]  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    method, path = draw(st.sampled_from(ROUTES))
    parts = []
    for part in path.split("/"):
        if part.startswith("{"):
            text = draw(texts(ID, "file_parsing_queue"))
            part = _quoted(text)
        parts.append(part)
    query = draw(st.dictionaries(st.sampled_from(sorted(QUERY)), st.none(), max_size=3))
    words = [(name, draw(texts(*QUERY[name]))) for name in query]
    url = (
        "/".join(parts) + "?" + "&".join(f"{n}={quote_from_bytes(v.encode(errors='surrogatepass'))}" for n, v in words)
    )
    chosen = draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=3, unique=True))
    headers = [
        (name.encode(), draw(texts(*HEADERS[name], without="\0\r\n")).encode(errors="surrogatepass")) for name in chosen
    ]
    body = draw(_body(method))
    return {"method": method, "url": url, **body, "headers": headers + body.get("headers", [])}


def _body(method: str) -> st.SearchStrategy[dict[str, Any]]:
    if method == "GET":
        return st.just({})
    form = st.dictionaries(st.sampled_from(sorted(QUERY)), texts("1h", "file_parsing_queue"), max_size=4)
    names = texts("a.pdf")
    return st.one_of(
        jsons(*BODIES).map(lambda body: {"content": json.dumps(body).encode()}),
        texts(*map(json.dumps, BODIES)).map(lambda body: {"content": body.encode(errors="surrogatepass")}),
        form.map(lambda fields: {"content": "&".join(f"{n}={_quoted(v)}" for n, v in fields.items()).encode()}),
        st.tuples(names, names, texts("a")).map(lambda three: _multipart(*three)),
    )


def _quoted(text: str) -> str:
    return quote_from_bytes(text.encode(errors="surrogatepass"), safe="")


def _multipart(field: str, name: str, folder: str) -> dict[str, Any]:
    part = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n{field}: a\r\n\r\nx\r\n'
    rest = f'--b\r\nContent-Disposition: form-data; name="folderId"\r\n\r\n{folder}\r\n--b--\r\n'
    form = (b"Content-Type", b"multipart/form-data; boundary=b")
    return {"content": (part + rest).encode(errors="surrogatepass"), "headers": [form]}


@pytest.fixture
async def stocked(api: httpx.AsyncClient, db: Database) -> httpx.AsyncClient:
    """With a message in each state, and a file, under the id that requests begin from."""
    shelf = Shelf(db)
    for state in State:
        await shelf.put(state, key=ID)
    await db.files.insert_one({"_id": ObjectId(ID), "parsing": "parsed", "version": 1})
    return api


@given(request=requests())
@examples(100)
async def test_every_route_answers(stocked: httpx.AsyncClient, request: dict[str, Any]) -> None:
    answer = await stocked.request(**request)
    assert answer.status_code < 500, answer.text[:500]
    if answer.content and "json" in answer.headers.get("content-type", ""):
        json.dumps(answer.json(), ensure_ascii=False).encode()
