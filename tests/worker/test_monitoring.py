"""The probes and metrics of worker processes, and several of them under one parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.embedded import ports
from outbox.operations import pausing
from outbox.web.listening import listen
from outbox.worker import Handlers, Message, Snooze, fleet
from outbox.worker.monitoring import Monitoring
from outbox.worker.probes import Health, served
from tests.relay.test_start_and_stop import answers
from tests.relay.world import STREAM
from tests.waiting import eventually, eventually_sync
from tests.worker.processes import WorkerProcess, running
from tests.worker.workshop import Workshop


def values(text: str) -> dict[tuple[str, ...], float]:
    """By the metric's name and the values of its labels."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *sorted(sample.labels.values())): sample.value for sample in samples}


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as reply:
            return reply.status, reply.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


@asynccontextmanager
async def monitored(workshop: Workshop, handle: Any, **options: Any) -> AsyncIterator[int]:
    """A consumer at work, and the port of its probes."""
    await workshop.owner.drain()  # so that there is a group to read as
    monitoring = Monitoring(Handlers.of(handle))
    listening = listen("127.0.0.1", 0, name="", hint="")
    with served(monitoring.health(), listening):
        port = listening.getsockname()[1]
        assert get(port, "/readyz")[0] == 503, "the servers have not been reached"
        ticking = asyncio.create_task(monitoring.tick())
        async with workshop.working(handle, count=monitoring.metrics.tried, **options) as consumer:
            monitoring.consumer = consumer
            await answers(port, "/readyz", 200)
            yield port
        ticking.cancel()


async def test_tries_and_what_is_in_flight(workshop: Workshop) -> None:
    let_go = asyncio.Event()

    async def handle(message: Message) -> None:
        if message.key == "bad":
            raise ValueError("bad")
        if message.key == "early":
            raise Snooze(3600)
        await let_go.wait()

    async with monitored(workshop, handle) as port:
        await workshop.publish("bad", "early", "slow")
        await workshop.world.database.files.update_many({}, {"$set": {"parsing": "parsed"}})
        name = handle.__qualname__

        async def metrics() -> dict[tuple[str, ...], float]:
            return values((await asyncio.to_thread(get, port, "/metrics"))[1])

        async def one_has_failed() -> bool:
            found = await metrics()
            failed = found.get(("worker_tries_total", *sorted(("failed", STREAM.name, name))))
            snoozed = found.get(("worker_tries_total", *sorted(("snoozed", STREAM.name, name))))
            return failed == snoozed == 1 and found["worker_in_flight_messages", name] == 1

        await eventually(one_has_failed)
        assert (await metrics())["worker_oldest_in_flight_seconds", name] > 0
        await pausing.pause(workshop.world.database, STREAM.name, who="anna")

        async def told() -> bool:
            state = json.loads((await asyncio.to_thread(get, port, "/readyz"))[1])
            return bool(state["in_flight"] == 1 and state["warnings"])

        await eventually(told)
        let_go.set()

        async def completed() -> bool:
            found = await metrics()
            return found.get(("worker_tries_total", *sorted(("completed", STREAM.name, name)))) == 1

        await eventually(completed)
        assert (await metrics())["worker_handler_seconds_count", name] == 3

        async def acknowledged() -> bool:  # after the commit, by which it counts as completed
            return (await metrics())["worker_oldest_in_flight_seconds", name] == 0

        await eventually(acknowledged)


async def test_the_probes_answer_while_a_handler_lets_nothing_else_run(workshop: Workshop) -> None:
    seen: list[tuple[int, float]] = []
    name = workshop.world.database.name

    async def handle(message: Message, session: AsyncClientSession) -> None:
        def ask() -> None:
            age = values(get(port, "/metrics")[1])["worker_oldest_in_flight_seconds", handle.__qualname__]
            seen.append((get(port, "/healthz")[0], age))

        asking = asyncio.get_running_loop().run_in_executor(None, ask)
        eventually_sync(lambda: seen)  # blocks the event loop
        await asking
        files = session.client[name].files
        await files.update_one({"_id": message.key}, {"$set": {"parsing": "parsed"}}, session=session)

    async with monitored(workshop, handle) as port:
        (id_,) = await workshop.publish("f1")
        await eventually(lambda: workshop.in_state("completed", id_))
    assert seen[0][0] == 200
    assert seen[0][1] >= 0


def test_a_loop_that_stands_still_for_longer_than_a_handler_may_take_is_not_alive() -> None:
    monitoring = Monitoring(Handlers.of(print))
    assert monitoring.health().alive()
    monitoring._ticked = time.monotonic() - 61
    assert not monitoring.health().alive()


def test_other_requests() -> None:
    listening = listen("127.0.0.1", 0, name="", hint="")
    with served(Monitoring(Handlers.of(print)).health(), listening):
        port = listening.getsockname()[1]
        assert get(port, "/")[0] == 404
        assert get(port, "/healthz") == (200, '{"status": "alive"}')


def started(process: WorkerProcess) -> list[int]:
    """The pids of all children so far."""
    whole, _, _ = process.text().rpartition("\n")  # the last line may be on its way
    lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    return [line["pid"] for line in lines if line["event"] == "worker process started"]


def lives(pid: int) -> bool:
    with suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


@pytest.fixture
async def environment(workshop: Workshop) -> dict[str, str]:
    await workshop.owner.drain()  # so that there is a group to read as
    settings = workshop.settings
    assert settings.redis_url
    return {
        "MONGODB_URI": settings.mongodb_uri.get_secret_value(), "MONGODB_DATABASE": settings.mongodb_database,
        "REDIS_URL": settings.redis_url.get_secret_value(),
    }  # fmt: skip


async def test_several_processes_are_one_to_who_starts_watches_and_stops_them(
    workshop: Workshop, environment: dict[str, str], tmp_path: Path
) -> None:
    port = ports.pick("127.0.0.1")
    options = ("--processes", "2", "--listen", f"127.0.0.1:{port}", "--consumer", "w")
    parent = WorkerProcess(tmp_path / "worker.log", environment, "effect", *options)
    with running(parent):
        await answers(port, "/healthz", 200)
        ready = await answers(port, "/readyz", 200)
        assert [one["consumer"] for one in ready["processes"].values()] == ["outbox:w-0", "outbox:w-1"]
        keys = [f"{number:024x}" for number in range(20)]
        ids = await workshop.publish(*keys)
        await eventually(lambda: workshop.in_state("completed", *ids), 20)

        async def counted() -> str | None:  # after its commit; and who is slow to answer is left out
            _, text = await asyncio.to_thread(get, port, "/metrics")
            done = [value for labels, value in values(text).items() if {"worker_tries_total", "completed"} <= {*labels}]
            return text if sum(done) == 20 and 'process="0"' in text else None

        await eventually(counted, what="20 tries are counted")
        first, second = started(parent)
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: len(started(parent)) == 3, 60)
        assert parent.told("worker process ended, starting it again")
        await answers(port, "/readyz", 200)
        third = started(parent)[2]
        assert await asyncio.to_thread(parent.stop) == 0
        assert not [pid for pid in (second, third) if lives(pid)]
    assert parent.text().count('"worker stopped"') == 2


def test_each_process_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "SECONDS", 60.0)  # however slow the machine is
    asked = 0

    def ready() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"waiting_for": []}

    listen = socket.create_server(("127.0.0.1", 0))
    with served(Health(lambda: True, ready, bytes), listen):
        assert fleet.health([listen.getsockname()[1]]).ready() == {
            "waiting_for": [], "processes": {"0": {"status": "ready", "waiting_for": []}},
        }  # fmt: skip
    assert asked == 1


async def test_the_children_end_with_their_parent(
    workshop: Workshop, environment: dict[str, str], tmp_path: Path
) -> None:
    parent = WorkerProcess(tmp_path / "worker.log", environment, "effect", "--processes", "2")
    with running(parent):
        await eventually(lambda: parent.text().count('"worker started"') == 2, 60)
        children = started(parent)
        parent.kill()
        try:
            await eventually(lambda: not [pid for pid in children if lives(pid)], 60)
        finally:  # or they would outlive the tests
            for pid in filter(lives, children):
                os.kill(pid, signal.SIGKILL)


async def test_a_stop_while_the_processes_start_is_no_failure(environment: dict[str, str], tmp_path: Path) -> None:
    parent = WorkerProcess(tmp_path / "worker.log", environment, "effect", "--processes", "2")
    with running(parent):
        await eventually(lambda: len(started(parent)) == 2, 60)
        assert await asyncio.to_thread(parent.stop) == 0


async def test_a_wrong_call_is_not_repeated(environment: dict[str, str], tmp_path: Path) -> None:
    parent = WorkerProcess(tmp_path / "worker.log", environment, "effect", "--processes", "2", "--group", "nobody")
    with running(parent):
        assert await asyncio.to_thread(parent.wait, 60) == 2
    assert started(parent), "only the children read what is registered"
    assert not parent.told("starting it again")
