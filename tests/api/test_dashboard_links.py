"""Links of the dashboard to messages: only where there is a page."""

from __future__ import annotations

import re
from html import unescape

import httpx

from outbox.database import Database
from outbox.message.document import State
from tests.api.test_dashboard import ALICE, api, login
from tests.outbox.shelf import Shelf, a_document

__all__ = ["api"]


async def test_no_link_leads_to_a_message_that_has_no_page(api: httpx.AsyncClient, db: Database) -> None:
    """One with an id of another kind, which others wrote: a relay makes it dead, and nothing looks it up by that id."""
    (ours,) = await Shelf(db).put(State.DEAD, key="k")
    odd = [a_document(State.DEAD, key="k") | {"_id": id_} for id_ in (7, "../replay", {"tenant": 1})]
    await db.outbox.insert_many(odd, bypass_document_validation=True)
    await db.outbox.update_one({"_id": ours}, {"$set": {"last_error": "another reason"}})
    await login(api, ALICE)
    for path in ("/search?state=dead", "/search?q=k", "/dead", f"/messages/{ours}"):
        page = (await api.get(f"/dashboard{path}")).text
        links = {unescape(link) for link in re.findall(r'href="/dashboard/messages/([^"]*)"', page)}
        assert links <= {str(ours)}, path
        assert "{&#39;tenant&#39;: 1}" in page
