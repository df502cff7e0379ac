"""An address of the dashboard that is no page."""

from __future__ import annotations

import pytest

from outbox.database import Database
from tests.api.conftest import Serve


@pytest.mark.parametrize("path", ["nothing", "messages/7", "replays/7", "static/nothing.css", "dead/more"])
async def test_an_address_that_is_no_page_is_answered_by_one(db: Database, serve: Serve, path: str) -> None:
    api = await serve()
    answer = await api.get(f"/dashboard/{path}")
    assert answer.status_code == 404
    page = answer.headers["content-type"].startswith("text/html")
    assert page == (not path.startswith("static/"))
    assert ("There is no such page" in answer.text) == page
