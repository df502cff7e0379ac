"""Replays of more than can be counted while somebody waits for the answer."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from outbox.database import OUTBOX, Database
from outbox.embedded import Mongod
from outbox.message.document import State
from outbox.operations import replay
from outbox_relay.replays import Replays
from outbox_relay.service import Next
from tests.outbox.shelf import Shelf

AGES = 3_000
"""Milliseconds that MongoDB needs to count."""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod of this module's own, whose commands can be held up."""
    with Mongod(tmp_path_factory.mktemp("mongod"), extra_args=["--setParameter", "enableTestCommands=1"]) as server:
        yield server


@pytest.fixture
def mongodb_uri(slow: Mongod) -> str:
    return slow.uri


@pytest.fixture
def counting_takes_ages(slow: Mongod, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(replay, "COUNT_SECONDS", 0.05, raising=False)
    held_up = {
        "failCommands": ["aggregate"], "namespace": f"{db.name}.{OUTBOX}", "blockConnection": True,
        "blockTimeMS": AGES,
    }  # fmt: skip
    with slow.client() as client:
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=held_up)
        try:
            yield
        finally:
            client.admin.command("configureFailPoint", "failCommand", mode="off")


@pytest.mark.usefixtures("counting_takes_ages")
async def test_a_replay_that_is_not_counted_in_time_is_begun_and_done(api: httpx.AsyncClient, db: Database) -> None:
    ids = await Shelf(db).put(State.PUBLISHED, 3)
    wanted = {"states": ["published"]}

    counted = await api.post("/outbox/replay", json={**wanted, "dry_run": True})
    assert (counted.status_code, counted.json()) == (200, {"selected": None, "replayed": 0})

    asked = await api.post("/outbox/replay", json=wanted)
    assert (asked.status_code, asked.json()["selected"]) == (202, None)

    replays = Replays(db, "relay-1")
    while (await replays.run_once()).next is Next.AGAIN:
        pass
    job = (await api.get(asked.headers["Location"])).json()
    assert (job["phase"], job["selected"], job["replayed"]) == ("done", 3, 3)
    assert await Shelf(db).states(*ids) == ["pending"] * 3
    counts = {record["action"]: record["count"] for record in (await api.get("/outbox/audit")).json()["records"]}
    assert counts == {"replay": None, "replay done": 3}
