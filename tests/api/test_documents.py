"""The documents, as the dashboard shows them: each finding has its section, and links lead where they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from outbox.database import Database
from outbox.operations import diagnosis
from outbox_api.dashboard import documents
from tests.api.conftest import Serve
from tests.documents import PAGES, anchors

NAMES = [path.removeprefix("docs/").removesuffix(".md") for path in PAGES if path.startswith("docs/")]


async def test_a_page_is_shown_and_another_one_is_not_there(db: Database, serve: Serve) -> None:
    api = await serve()
    found = await api.get("/dashboard/docs/operations")
    assert found.status_code == 200
    assert '<h3 id="redis-unavailable">' in found.text
    assert '<a id="outboxnorelay"></a>' in found.text
    assert (await api.get("/dashboard/docs")).status_code == 200
    for nothing in ("nothing", "..%2Fpyproject", "operations.md", "%2Fetc%2Fpasswd"):
        assert (await api.get(f"/dashboard/docs/{nothing}")).status_code == 404


def test_no_other_file_is_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "secret.md").write_text("secret")
    monkeypatch.setattr(documents, "_PACKAGED", tmp_path / "docs")
    for name in ("../secret", "..", "", f"{tmp_path}/secret", "a" * 300, "a" * 10_000):
        assert documents.read(name) is None


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_pages_and_sections_that_there_are(name: str) -> None:
    text = documents.read(name)
    assert text
    assert "<img" not in text
    assert "<th></th>" not in text, "it would be read aloud before each cell"
    for address in re.findall(r'href="([^"]+)"', text):
        if address.startswith("https://"):
            continue
        place = re.fullmatch(r"(?:/dashboard/docs/([A-Za-z-]+))?(?:#(.+))?", address)
        assert place, address
        other = documents.read(place[1] or name)
        assert other, address
        assert not place[2] or f'id="{place[2]}"' in other, address


def test_each_finding_of_the_dashboard_has_its_section() -> None:
    named = set(re.findall(r'Finding\(\s*"([a-z-]+)"', Path(diagnosis.__file__).read_text()))
    assert len(named) > 10
    assert named - anchors(PAGES["docs/operations.md"]) == set()
