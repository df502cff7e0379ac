"""Buttons of the dashboard, pressed on a page that is not the newest: they act on what it has shown."""

from __future__ import annotations

import re

import httpx
import pytest

from outbox.database import Database
from outbox.message.document import State
from tests.api.test_dashboard import ALICE, api, login
from tests.outbox.shelf import Shelf

__all__ = ["api"]


@pytest.mark.parametrize(("action", "state"), [("retry", "DEAD"), ("discard", "DEAD"), ("replay", "PUBLISHED")])
async def test_a_button_acts_on_what_its_page_has_shown(
    action: str, state: str, api: httpx.AsyncClient, db: Database
) -> None:
    """And not once more on a message that went round meanwhile: pressed twice, or by two operators."""
    shelf = Shelf(db)
    (message,) = await shelf.put(State[state])
    await login(api, ALICE)
    place = f"/dashboard/messages/{message}"
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', (await api.get(place)).text))
    again = {"state": State[state].value, "attempts": 2}
    await db.outbox.update_one(
        {"_id": message}, {"$set": again, "$currentDate": {"published_at": True, "died_at": True}}
    )
    before = await shelf.get(message)
    answer = await api.post(f"{place}/{action}", data=form)
    shown = await api.get(answer.headers["Location"]) if answer.is_redirect else answer
    assert "again" in shown.text, "and it says why"
    assert await shelf.get(message) == before
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', (await api.get(place)).text))
    answer = await api.post(f"{place}/{action}", data=form)
    assert answer.headers["Location"].partition("done=")[2] in ("retried", "discarded", "replayed")
