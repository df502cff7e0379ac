"""Names that clients choose are labels: shown as they are, and harmless wherever they appear."""

from __future__ import annotations

from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.database import Database
from outbox_api import labels
from tests.strategies import examples

FOLDER = {"folderId": "invoices"}


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ("../../etc/passwd", "../../etc/passwd"),
        ("emoji 👩‍👩‍👧 é.txt", "emoji 👩‍👩‍👧 é.txt"),
        ('a "quoted" name.txt', 'a "quoted" name.txt'),
        ("back\\slash.txt", "back\\slash.txt"),
        ("line\r\nSet-Cookie: a=b", "lineSet-Cookie: a=b"),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("=1+1", "=1+1"),
        ("tab\u0085.txt", "tab.txt"),
        ("gpj\u202eexe", "gpjexe"),
        ("a%2Fb.txt", "a%2Fb.txt"),
    ],
)
async def test_a_name_is_kept_as_text(given: str, label: str, api: httpx.AsyncClient, db: Database) -> None:
    told = (await api.post("/files", files={"file": (given, b"x", "text/html")}, data=FOLDER)).json()
    assert told["files"][0]["filename"] == label
    message = await db.outbox.find_one({"key": told["id"]})
    assert message
    assert message["fields"]["filename"] == label

    content = await api.get(f"/files/{told['id']}/content")
    disposition = content.headers["content-disposition"]
    assert disposition.startswith("attachment; ")
    assert unquote(disposition.rpartition("filename*=UTF-8''")[2]) == label.replace("/", "_").replace("\\", "_")
    assert content.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in content.headers["content-security-policy"]
    assert "set-cookie" not in content.headers


@pytest.mark.parametrize("name", ["", "\x07", "   "])
async def test_a_name_of_nothing_gets_one(name: str, api: httpx.AsyncClient) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\nx\r\n' % name.encode()
    body += b'--b\r\nContent-Disposition: form-data; name="folderId"\r\n\r\ni\r\n--b--\r\n'
    answer = await api.post("/files", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.json()["files"][0]["filename"] == "unnamed"


def test_a_long_name_keeps_its_end() -> None:
    label = labels.file_label("x" * 5000 + ".pdf")
    assert len(label) == labels.MAX_LABEL
    assert label.endswith("x….pdf")
    assert len(labels.file_label("x." + "y" * 5000)) == labels.MAX_LABEL


@given(st.text(max_size=600))
@examples(100)
def test_any_name_is_one_printable_line_and_a_header(text: str) -> None:
    label = labels.file_label(text)
    assert 1 <= len(label) <= labels.MAX_LABEL
    assert label == labels.clean(label)
    assert len(label.splitlines()) == 1
    label.encode()
    header = labels.attachment(label)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("text/plain; charset=utf-8", "text/plain"),
        ("Image/SVG+XML", "image/svg+xml"),
        ("text/html\r\nSet-Cookie: a=b", labels.OCTETS),
        ("nonsense", labels.OCTETS),
        ("", labels.OCTETS),
        (None, labels.OCTETS),
    ],
)
def test_a_type_is_kept_if_it_is_one(given: str | None, kept: str) -> None:
    assert labels.content_type(given) == kept


@given(st.text(max_size=300))
@examples(100)
def test_a_folder_is_kept_or_refused(text: str) -> None:
    try:
        assert labels.folder_id(text) == text
    except ValueError:
        assert not text or len(text) > labels.MAX_LABEL or labels.clean(text) != text
