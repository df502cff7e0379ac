"""python -m tests.conformance: carry traces of the model out on real servers. Exit code 1 when the two differ."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import Annotated, cast

import structlog
import typer
from redis.asyncio import Redis

from outbox.embedded import Mongod, RedisServer
from outbox.servers.connections import connect_mongo, connect_redis
from outbox.settings import OutboxSettings, load
from tests.conformance.carry import Drift, Trace, carry, without_delays
from tests.conformance.traces import ALL, Walk, every
from tests.model.rules import Bounds
from tests.relay.world import a_world

TOGETHER = 20
"""Long traces of one seed; and so many short ones between two seeds."""


def main(
    seconds: Annotated[float, typer.Option(min=0, help="Go on for so long with random long traces.")] = 600,
    seed: Annotated[int | None, typer.Option(help="Of the first long traces. By default any.")] = None,
    short: Annotated[bool, typer.Option(help="All short traces, which takes some minutes.")] = True,
) -> None:
    """Carry out all short traces of the model, and random long ones; stop at the first that differs.

    Examples:

        python -m tests.conformance

        python -m tests.conformance --no-short --seed 17 --seconds 0
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    without_delays(lambda name, value: _set(name, value))
    raise typer.Exit(asyncio.run(_run(_traces(seconds, random.randrange(10**6) if seed is None else seed, short))))


def _traces(seconds: float, seed: int, short: bool) -> Iterator[tuple[str, Bounds, Trace]]:
    """By turns, so that what only long ones show does not wait for all short ones."""
    began = time.monotonic()
    left = _short() if short else iter(())
    ended = False
    while not ended or time.monotonic() - began < seconds:
        turn = list(islice(left, TOGETHER))
        ended = len(turn) < TOGETHER
        yield from turn
        walk = Walk(seed)
        for _ in range(TOGETHER):
            yield f"--seed {seed}", *walk.trace()
        seed += 1


def _short() -> Iterator[tuple[str, Bounds, Trace]]:
    for bounds, depth in ALL:
        for trace in every(bounds, depth):
            yield f"all up to {depth} actions, {_told(bounds)}", bounds, trace


async def _run(traces: Iterator[tuple[str, Bounds, Trace]]) -> int:
    began = time.monotonic()
    carried = states = 0
    kind = ""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mongod = stack.enter_context(Mongod(folder / "mongod"))
        redis_server = stack.enter_context(RedisServer(folder / "redis"))
        settings = load(OutboxSettings, mongodb_uri=mongod.uri, redis_url=redis_server.url)
        mongo = await stack.enter_async_context(connect_mongo(settings))
        redis = await stack.enter_async_context(connect_redis(settings))
        world = await stack.enter_async_context(a_world(mongo, "conformance", cast(Redis, redis)))
        for title, bounds, trace in traces:
            if title != kind and not title.startswith("--"):
                print(title, flush=True)
                kind = title
            try:
                states += await carry(world, trace, bounds)
            except Drift as drift:
                print(f"{title}\n{drift}")
                return 1
            carried += 1
    print(f"{carried} traces carried out, {states} states compared, {time.monotonic() - began:.0f} s: no difference")
    return 0


def _told(bounds: Bounds) -> str:
    usual = Bounds()._asdict()
    return ", ".join(f"{name} {value}" for name, value in bounds._asdict().items() if value != usual[name])


def _set(name: str, value: object) -> None:
    module, _, attribute = name.rpartition(".")
    setattr(__import__(module, fromlist=[attribute]), attribute, value)


if __name__ == "__main__":
    typer.run(main)
