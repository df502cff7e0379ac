"""Streams on the dashboard: paused, resumed, and shown by their topics."""

from __future__ import annotations

import re

import httpx

from outbox.database import AUDIT, Database
from outbox.message import schema
from outbox.operations import pausing
from outbox.settings import OutboxSettings, load
from outbox.streams import pauses, registry
from outbox.streams.declaration import FILES, Stream, Streams
from outbox_api.collections import FILES_APPLICATION
from outbox_api.dashboard import routing
from tests.api.conftest import Serve
from tests.api.test_dashboard import ALICE, BOB, KEYS, api, login
from tests.waiting import eventually

__all__ = ["api"]


async def test_a_stream_is_paused_with_a_reason_and_resumed(api: httpx.AsyncClient, db: Database) -> None:
    await login(api, ALICE)
    place = f"/dashboard/streams/{FILES.name}"
    page = await api.get(place)
    found = re.search(r'name="token" value="([0-9a-f]{64})"', page.text)
    assert found
    assert "It runs." in page.text
    fields = {"token": found[1], "reason": "the <disk> is full"}
    assert (await api.post(f"{place}/pause", data={"reason": "no token"})).status_code == 403
    answer = await api.post(f"{place}/pause", data=fields)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{place}?done=paused")
    page = await api.get(place)
    assert "by alice: the &lt;disk&gt; is full" in page.text
    assert (await pauses.read(db)).paused[FILES.name].reason == "the <disk> is full"
    assert (await api.post(f"{place}/resume", data=fields)).status_code == 303
    assert (await pauses.read(db)).paused == {}
    actions = [one["action"] async for one in db[AUDIT].find({"who": "alice"})]
    assert actions == ["pause-stream", "resume-stream"]


async def test_a_pause_that_was_there_already_is_not_said_to_be_ones_own(api: httpx.AsyncClient, db: Database) -> None:
    """Of two operators, the second would take the first one's reason for a mistake."""
    await login(api, ALICE)
    place = f"/dashboard/streams/{FILES.name}"
    found = re.search(r'name="token" value="([0-9a-f]{64})"', (await api.get(place)).text)
    assert found
    said = []
    await pausing.pause(db, FILES.name, who="bob", reason="disk full")
    for action in ("pause", "resume", "resume"):
        answer = await api.post(f"{place}/{action}", data={"token": found[1], "reason": "another"})
        page = (await api.get(answer.headers["Location"])).text
        said += re.findall("Done: ([^<]*)[.]", page)
        assert ("by bob: disk full" in page) == (action == "pause")
    assert said == [routing.DONE[word] for word in ("paused-already", "resumed", "not-paused")]


async def test_who_may_only_look_pauses_nothing(api: httpx.AsyncClient, db: Database) -> None:
    await login(api, BOB)
    place = f"/dashboard/streams/{FILES.name}"
    page = await api.get(place)
    assert page.status_code == 200
    assert "<button>Pause" not in page.text
    assert "data-ask" not in page.text
    assert (await api.post(f"{place}/pause", data={"token": "x" * 64})).status_code == 403
    assert (await pauses.read(db)).paused == {}
    assert (await api.get("/dashboard/streams/nothing")).status_code == 404


async def test_the_streams_of_a_topic_stand_together(
    db: Database, serve: Serve, outbox_settings: OutboxSettings
) -> None:
    """Those of its groups and priorities, with one pause for all of them."""
    topic = {"name": "orders", "group": "billing", "groups": ["search"], "priorities": ["high"], "partitions": 1}
    files = {"name": FILES.name, "group": FILES.group, "subject": {}}
    settings = load(OutboxSettings, **outbox_settings.model_dump() | {"outbox_streams": [files, topic]})
    await schema.ensure(db, settings.streams, FILES_APPLICATION)
    api = await serve(settings, api_keys=KEYS, api_session_secret="s" * 32)
    await login(api, ALICE)
    page = re.sub(r"\s+", " ", (await api.get("/dashboard")).text)
    assert "orders <small>(4 streams: groups, priorities, shards)</small>" in page
    assert page.count('aria-label="Pause orders"') == 1
    for name in ("orders", "orders:high", "orders:search", "orders:search:high"):
        assert f'<th scope="row" class="text">{name}</th>' in page
    stream = (await api.get("/dashboard/streams/orders")).text
    assert "(group search, 1 partitions, key orders:search:high)" in stream


async def test_a_stream_that_is_registered_later_is_shown_without_a_restart(
    api: httpx.AsyncClient, db: Database
) -> None:
    """As a program of one's own registers it, whose messages the dashboard would leave out of every figure."""
    await login(api, ALICE)
    assert "parcels" not in (await api.get("/dashboard")).text
    await registry.register(db, Streams([Stream("parcels", "packers")]))

    async def shown() -> bool:
        return "/dashboard/streams/parcels" in (await api.get("/dashboard")).text

    await eventually(shown)
    stats = (await api.get("/outbox/stats", headers={"Authorization": f"Bearer {ALICE}"})).json()
    assert "parcels" in stats["streams"]
