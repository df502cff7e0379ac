"""Sessions of the dashboard end with a logout or with their key, at every process; their streams are bounded."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from outbox.database import Database
from outbox.message.document import State
from outbox.settings import OutboxSettings
from outbox.web import keys
from outbox.web.keys import Scope
from outbox_api.access import ANYONE
from outbox_api.dashboard import sessions
from outbox_api.dashboard.sessions import Session
from outbox_api.errors import TooManyStreams
from tests.api.callers import ALICE, ALICES, PROCESS, SHARED
from tests.api.conftest import Serve
from tests.api.serving import Api
from tests.outbox.shelf import Shelf
from tests.waiting import eventually


async def cookie_of(api: httpx.AsyncClient) -> dict[str, str]:
    entered = await api.post("/dashboard/login", data={"key": ALICE})
    assert entered.status_code == 303
    return {"Cookie": f"outbox_session={api.cookies['outbox_session']}"}


async def test_a_logout_ends_the_session_at_every_process(db: Database, serve: Serve) -> None:
    one, two, later = await serve(**SHARED), await serve(**SHARED), await serve(**SHARED)
    cookie = await cookie_of(one)
    another = await cookie_of(two)
    for api in (one, two):
        assert (await api.get("/dashboard", headers=cookie)).status_code == 200
    assert (await one.post("/dashboard/logout", headers=cookie)).status_code == 303
    one.cookies.clear()
    two.cookies.clear()
    for api in (one, two, later):
        assert (await api.get("/dashboard", headers=cookie)).status_code == 303
        assert (await api.get("/dashboard/events", headers=cookie)).status_code == 303
        assert (await api.post("/dashboard/replay", headers=cookie)).status_code == 303
        assert (await api.get("/dashboard", headers=another)).status_code == 200
    (ended,) = await db.outbox_logouts.find().to_list()
    assert ended["_id"] not in cookie["Cookie"]
    assert ended["until"] is not None


async def test_a_key_with_other_scopes_ends_its_sessions(db: Database, serve: Serve) -> None:
    cookie = await cookie_of(await serve(**SHARED))
    for line, status in (
        (ALICES.line, 200),
        (ALICES.line.replace("read,operate", "read"), 303),
        (keys.make("b", [Scope.READ])[1].line, 303),
    ):
        api = await serve(api_keys=line, api_session_secret="s" * 32)
        assert (await api.get("/dashboard", headers=cookie)).status_code == status, line


async def test_a_logout_ends_open_streams_at_every_process(
    tmp_path: Path, outbox_settings: OutboxSettings, db: Database
) -> None:
    with (
        Api(tmp_path / "one", outbox_settings, **PROCESS) as one,
        Api(tmp_path / "two", outbox_settings, **PROCESS) as two,
    ):
        async with httpx.AsyncClient(timeout=60) as client:
            entered = await client.post(f"{one.url}/dashboard/login", data={"key": ALICE})
            cookie = {"Cookie": entered.headers["Set-Cookie"].partition(";")[0]}
            kept = (await client.post(f"{one.url}/dashboard/login", data={"key": ALICE})).headers["Set-Cookie"]
            still = {"Cookie": kept.partition(";")[0]}
            client.cookies.clear()
            ended: list[str] = []
            begun: set[asyncio.Task[None] | None] = set()

            async def watch(api: Api, headers: dict[str, str]) -> None:
                async with client.stream("GET", f"{api.url}/dashboard/events", headers=headers) as answer:
                    assert answer.status_code == 200
                    async for _ in answer.aiter_bytes():
                        begun.add(asyncio.current_task())
                    ended.append(api.url)

            watching = [asyncio.create_task(watch(api, cookie)) for api in (one, two)]
            staying = asyncio.create_task(watch(two, still))
            await eventually(lambda: len(begun) == 3, 20)
            await client.post(f"{one.url}/dashboard/logout", headers=cookie)
            await eventually(lambda: len(ended) == 2, 20)
            await asyncio.gather(*watching)
            assert not staying.done()
            staying.cancel()
            await asyncio.gather(staying, return_exceptions=True)


RETRY, MESSAGE = "/dashboard/messages/{}/retry", "/dashboard/messages/{}"
STREAM = "/dashboard/streams/file_parsing_queue"
RANGE = "/dashboard/replay?state=published&stream="
PRESSED = [
    (RETRY, f"http://api{MESSAGE}", MESSAGE),
    (RETRY, f"http://api{MESSAGE}?done=replayed", MESSAGE),
    ("/dashboard/replay", f"http://api{RANGE}", RANGE),
    (f"{STREAM}/pause", f"http://api{STREAM}", STREAM),
    (f"{STREAM}/pause", "", "/dashboard"),
    (RETRY, "https://evil.example/files", "/dashboard"),
    (RETRY, "http://[", "/dashboard"),
]
"""Action, page as a browser names it, and where the login leads."""


@pytest.mark.parametrize(("action", "page", "then"), PRESSED)
async def test_a_button_pressed_too_late_leads_back_to_its_page(
    db: Database, serve: Serve, action: str, page: str, then: str
) -> None:
    """To a GET of what the button asks for, there is no answer. The page is that on which it stood, as browsers say."""
    api = await serve(**SHARED)
    (message,) = await Shelf(db).put(State.DEAD)
    action, page, then = (text.format(message) for text in (action, page, then))
    asked = await api.post(action, data={"token": "of before"}, headers={"Referer": page} if page else {})
    assert asked.status_code == 303
    door = await api.get(asked.headers["Location"])
    (wanted,) = re.findall(r'type="hidden" name="next" value="([^"]*)"', door.text)
    entered = await api.post("/dashboard/login", data={"key": ALICE, "next": unescape(wanted)})
    assert (entered.status_code, entered.headers["Location"]) == (303, then)
    shown = await api.get(entered.headers["Location"])
    assert shown.status_code == 200
    assert "Done:" not in shown.text, "nothing was done this time"
    assert (await Shelf(db).get(message))["state"] == "dead"


async def test_a_page_that_says_what_was_done_says_it_no_more_after_a_login(db: Database, serve: Serve) -> None:
    """As one that is loaded again the next morning."""
    api = await serve(**SHARED)
    (message,) = await Shelf(db).put(State.DEAD)
    page = MESSAGE.format(message)
    asked = await api.get(f"{page}?done=retried&x=a%26b")
    wanted = dict(parse_qsl(urlsplit(asked.headers["Location"]).query))["next"]
    assert wanted == f"{page}?x=a%26b"
    entered = await api.post("/dashboard/login", data={"key": ALICE, "next": wanted})
    assert "Done:" not in (await api.get(entered.headers["Location"])).text


async def test_streams_are_bounded(db: Database) -> None:
    bound = sessions.Sessions(None, db, None, 1)  # type: ignore[arg-type]
    one = Session("one", ANYONE, "", float("inf"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "MAX_STREAMS_EACH", 1)
        with bound.streaming(one):
            with pytest.raises(TooManyStreams):
                bound.refuse_more(one)
            bound.refuse_more(Session("two", ANYONE, "", float("inf")))
        bound.refuse_more(one)
