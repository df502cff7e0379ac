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


async def test_who_is_logged_in_finds_the_way_from_there(db: Database, serve: Serve) -> None:
    """As on every other page. A form that is sent to no page is answered by one, too."""
    api = await serve()
    assert "<nav" in (await api.get("/dashboard/nothing")).text
    answer = await api.post("/dashboard/nothing", data={"a": "b"})
    assert (answer.status_code, "There is no such page" in answer.text) == (404, True)
