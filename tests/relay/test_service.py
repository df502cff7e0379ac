"""The loop that all services share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from pymongo.errors import AutoReconnect
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError
from structlog.testing import capture_logs

from outbox.errors import CommitUnknown, LookAgain, SettingsError, UndeclaredStream
from outbox_relay.outage import Outages
from outbox_relay.service import Next, Service
from tests.waiting import PATIENCE, eventually

SOON = 10 * PATIENCE
"""Seconds: long before anything would happen by itself."""


@dataclass(frozen=True)
class Result:
    next: Next


class Redis:
    """A server that can be away."""

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.probed = 0

    async def ping(self) -> None:
        self.probed += 1
        if self.away:
            raise self.away


async def waiting() -> int:
    return 42


@pytest.fixture
def redis() -> Redis:
    return Redis()


@pytest.fixture
async def outages(redis: Redis) -> AsyncIterator[Outages]:
    made = Outages({"redis": redis.ping}, waiting)
    yield made
    made.close()


def passes(*results: Next | Exception) -> Callable[[], object]:
    left = list(results)

    async def run_once() -> Result:
        result = left.pop(0)
        if isinstance(result, Exception):
            raise result
        return Result(result)

    return run_once


async def test_the_value_decides_the_next_step(outages: Outages) -> None:
    seen: list[object] = []
    service = Service("s", passes(Next.AGAIN, Next.AGAIN, Next.END), outages, interval=60, observe=seen.append)  # type: ignore[arg-type]
    await asyncio.wait_for(service.run(), SOON)
    assert [result.next for result in seen] == [Next.AGAIN, Next.AGAIN, Next.END]  # type: ignore[attr-defined]


async def test_a_wake_up_during_the_pass_leads_to_another(outages: Outages) -> None:
    count = 0

    async def run_once() -> Result:
        nonlocal count
        count += 1
        if count == 1:
            service.wake()
            return Result(Next.WAIT)
        return Result(Next.END)

    service = Service("s", run_once, outages, interval=60)
    await asyncio.wait_for(service.run(), SOON)
    assert count == 2


async def test_a_pass_is_finished_before_the_service_is_quiet(outages: Outages) -> None:
    started, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run_once() -> Result:
        started.set()
        await go_on.wait()
        finished.set()
        return Result(Next.AGAIN)

    service = Service("s", run_once, outages, interval=60)
    task = asyncio.create_task(service.run())
    await started.wait()
    service.quiet()
    go_on.set()
    await asyncio.wait_for(task, SOON)
    assert finished.is_set()


async def test_a_defect_is_told_once_tried_again_and_makes_unready(outages: Outages) -> None:
    seen: list[list[str]] = []
    fails = [ZeroDivisionError(), KeyError("x"), TypeError(), None]

    async def run_once() -> Result:
        seen.append(outages.current())
        if error := fails.pop(0):
            raise error
        return Result(Next.END)

    with capture_logs() as logs:
        await asyncio.wait_for(Service("s", run_once, outages, interval=60).run(), SOON)
    assert seen == [[], *[["a defect in: s"]] * 3]
    assert outages.current() == []
    assert [(line["log_level"], line["service"]) for line in logs] == [("error", "s"), ("warning", "s")]
    assert isinstance(logs[0]["exc_info"], ZeroDivisionError)


async def test_what_is_raised_on_purpose_ends_the_service(outages: Outages) -> None:
    with pytest.raises(SettingsError):
        await Service("s", passes(SettingsError("wrong")), outages, interval=60).run()  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [UndeclaredStream("removed"), LookAgain("changed")], ids=str)
async def test_an_error_of_ours_that_may_pass_ends_nothing(outages: Outages, error: Exception) -> None:
    service = Service("s", passes(error, Next.END), outages, interval=60)  # type: ignore[arg-type]
    with capture_logs() as logs:
        await asyncio.wait_for(service.run(), SOON)
    assert [line["event"] for line in logs] == [
        "failed unexpectedly, retrying", "recovered from an unexpected failure",
    ]  # fmt: skip
    assert outages.current() == []


async def test_a_commit_whose_outcome_is_not_known_is_mongodbs_trouble(redis: Redis) -> None:
    outages = Outages({"mongodb": redis.ping}, waiting)
    unknown = CommitUnknown("the reply to a commit was lost")
    unknown.__cause__ = AutoReconnect("connection closed")
    service = Service("s", passes(unknown, Next.END), outages, interval=60)  # type: ignore[arg-type]
    with capture_logs() as logs:
        await asyncio.wait_for(service.run(), SOON)
    assert [line["event"] for line in logs] == ["mongodb unavailable", "mongodb available again"]
    outages.close()


async def test_a_probe_that_fails_by_a_defect_goes_on_and_nobody_waits_for_ever(redis: Redis) -> None:
    outages = Outages({"redis": redis.ping}, waiting)
    redis.away = UnicodeDecodeError("utf-8", b"x", 0, 1, "nobody knows this one")
    results: list[Next | Exception] = [RedisConnectionError("refused"), Next.END]
    running = asyncio.create_task(Service("s", passes(*results), outages, interval=60).run())  # type: ignore[arg-type]
    with capture_logs() as logs:
        await eventually(lambda: redis.probed > 2)
        redis.away = None
        await asyncio.wait_for(running, SOON)
    assert [line["log_level"] for line in logs if "unexpectedly" in line["event"]] == ["error"]


async def test_who_ends_during_an_outage_does_not_say_that_it_is_over(outages: Outages, redis: Redis) -> None:
    redis.away = RedisConnectionError("refused")

    async def run_once() -> Result:
        raise RedisConnectionError("refused")

    service = Service("s", run_once, outages, interval=60)
    with capture_logs() as logs:
        running = asyncio.create_task(service.run())
        await eventually(outages.current)
        service.quiet()
        await asyncio.wait_for(running, SOON)
    assert outages.current() == []
    assert not [line for line in logs if "available again" in line["event"]]


async def test_an_outage_is_told_once_at_its_start_and_once_at_its_end(outages: Outages, redis: Redis) -> None:
    redis.away = RedisConnectionError("refused")
    counts = {"a": 0, "b": 0}

    def serve(name: str) -> Service:
        async def run_once() -> Result:
            counts[name] += 1
            if redis.away:
                raise redis.away
            return Result(Next.END)

        return Service(name, run_once, outages, interval=60)

    with capture_logs() as logs:
        tasks = [asyncio.create_task(serve(name).run()) for name in counts]
        await eventually(lambda: redis.probed >= 3)
        assert counts == {"a": 1, "b": 1}  # nobody tries what one probe can find out for all
        assert outages.current() == ["redis"]
        redis.away = None
        await asyncio.wait_for(asyncio.gather(*tasks), SOON)
    assert [line["event"] for line in logs] == ["redis unavailable", "redis available again"]
    assert logs[1]["messages_waited"] == 42
    assert outages.current() == []


async def test_work_goes_on_soon_after_a_server_is_back_however_long_the_backoff(
    outages: Outages, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outbox_relay.service.wait_random_exponential", lambda **_: lambda _: 3600)
    redis.away = RedisConnectionError("refused")
    service = Service("s", passes(redis.away, Next.END), outages, interval=60)  # type: ignore[arg-type]
    task = asyncio.create_task(service.run())
    await eventually(lambda: redis.probed >= 2)
    assert not task.done()
    redis.away = None
    await asyncio.wait_for(task, SOON)


async def test_a_probe_that_hangs_does_not_hide_the_return(redis: Redis) -> None:
    """As to a machine that is gone without a word."""
    hanging = asyncio.Event()

    async def ping() -> None:
        redis.probed += 1
        if redis.away:
            await hanging.wait()

    outages = Outages({"redis": ping}, waiting)
    redis.away = RedisConnectionError("refused")
    service = Service("s", passes(redis.away, Next.END), outages, interval=60)  # type: ignore[arg-type]
    task = asyncio.create_task(service.run())
    await eventually(lambda: redis.probed >= 3)
    assert not task.done()
    redis.away = None
    await asyncio.wait_for(task, SOON)
    outages.close()


async def test_a_count_that_takes_long_does_not_hold_up_work(redis: Redis) -> None:
    endless = asyncio.Event()

    async def count() -> int:
        await endless.wait()
        return 0

    outages = Outages({"redis": redis.ping}, count)
    service = Service("s", passes(RedisConnectionError("refused"), Next.END), outages, interval=60)  # type: ignore[arg-type]
    await asyncio.wait_for(service.run(), SOON)
    outages.close()


@pytest.mark.parametrize(
    ("error", "level"),
    [(ReadOnlyError("READONLY replica"), "warning"), (ResponseError("WRONGTYPE of key"), "error")],
)
async def test_what_does_not_pass_by_itself_is_told_louder(outages: Outages, error: Exception, level: str) -> None:
    with capture_logs() as logs:
        await Service("s", passes(error, Next.END), outages, interval=60).run()  # type: ignore[arg-type]
    assert logs[0]["log_level"] == level


async def test_a_service_that_backs_off_can_be_stopped(outages: Outages, redis: Redis) -> None:
    redis.away = RedisConnectionError("refused")

    async def run_once() -> Result:
        raise RedisConnectionError("refused")

    service = Service("s", run_once, outages, interval=60)
    task = asyncio.create_task(service.run())
    await eventually(lambda: redis.probed >= 1)
    service.quiet()
    await asyncio.wait_for(task, SOON)
