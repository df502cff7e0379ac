"""`outbox bench`, as small as can be, on real servers: what it measures, and that nothing of it stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from redis import Redis

from outbox.bench.bench import MEASUREMENTS, run
from outbox.bench.extent import SMALLEST
from outbox.bench.result import Run
from outbox.cli import main
from outbox.settings import OutboxSettings, load


def _names(uri: str) -> set[str]:
    with MongoClient[dict[str, Any]](uri) as client:
        return set(client.list_database_names())


async def _run(names: list[str], mongodb_uri: str | None, redis_url: str | None) -> Run:
    settings = load(OutboxSettings)
    return await run(
        settings, SMALLEST, names, mongodb_uri=mongodb_uri, redis_url=redis_url, command="", tell=lambda *_: None
    )


IN_EVERY_RUN = ("append",)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in IN_EVERY_RUN))
        for name in MEASUREMENTS
        if name != "recover"
    ],
)
async def test_measures_on_servers_of_the_user_and_leaves_nothing_there(
    name: str, mongodb_uri: str, redis_url: str
) -> None:
    before = _names(mongodb_uri)
    with Redis.from_url(redis_url) as redis:
        redis.set("theirs", "1")
        found = await _run([name], mongodb_uri, redis_url)
        assert redis.keys() == [b"theirs"]
    assert _names(mongodb_uri) == before
    assert found.figures
    assert {figure.measurement for figure in found.figures} == {name}
    for figure in found.figures:
        assert 0 <= figure.value < 1e7, figure
        assert figure.limits, f"{figure.name} stands alone"
    assert any(figure.value > 0 for figure in found.figures)
    assert Run.read(json.loads(json.dumps(found.as_json()))) == found


async def test_recovers_on_embedded_servers() -> None:
    found = {figure.name: figure.value for figure in (await _run(["recover"], None, None)).figures}
    assert len(found) == 6
    assert 0 < found["Redis returns: first entry"] <= found[f"Redis returns: {SMALLEST.messages:,} drained"] < 60
    assert 0 < found["all lost: noticed while idle"] < found[f"all lost: {SMALLEST.messages:,} back"] < 60


@pytest.mark.slow
async def test_says_what_cannot_be_measured_on_a_redis_of_the_user(mongodb_uri: str, redis_url: str) -> None:
    found = await _run(["recover"], mongodb_uri, redis_url)
    assert [figure.name.partition(":")[0] for figure in found.figures] == ["all lost"] * 4
    assert "recover: Redis returns" in found.skipped


async def test_removes_what_it_made_when_a_child_fails(
    mongodb_uri: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOX_RELAY_BATCH_SIZE", "none")
    before = _names(mongodb_uri)
    with pytest.raises(Exception, match="OUTBOX_RELAY_BATCH_SIZE"):
        await _run(["drain"], mongodb_uri, redis_url)
    assert _names(mongodb_uri) == before
    with Redis.from_url(redis_url) as redis:
        assert redis.keys() == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["drian"], "drian"),
        (["--plot", "x.gif"], ".png"),
        (["--plot", "/nowhere/x.png"], "/nowhere"),
        (["--json", "--markdown"], "--markdown"),
        (["--from", "nowhere.json"], "nowhere.json"),
        (["--from", "nowhere.json", "drain"], "leave out"),
    ],
)
def test_refuses_before_it_measures(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
