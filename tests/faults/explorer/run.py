"""One exploration: a seed's actions, one after the other, and what the judge says in the end."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from structlog.testing import capture_logs

from outbox.database import Database
from outbox.embedded import RedisServer
from outbox.message import schema
from outbox.streams.declaration import FILES, Streams
from outbox_api.collections import FILES_APPLICATION
from tests.faults.explorer.actions import ACTIONS
from tests.faults.explorer.actions.action import Action
from tests.faults.explorer.servers import Members, connect
from tests.faults.explorer.work import Work
from tests.faults.explorer.world import World
from tests.faults.proxy import Proxy
from tests.waiting import pass_by

STEPS = 40
BATCH_SIZES = [1, 3, 20, 500, 5000]


Step = tuple[str, int]
"""An action, and the number of the try whose chance it has."""


@dataclass
class Exploration:
    """What a seed has led to."""

    seed: int
    servers: str
    day: str
    story: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    """What was done, to be given to `explore` again."""
    done: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    violation: str | None = None
    evidence: Path | None = None
    """Where data and logs are, when there is a violation."""
    seconds: float = 0.0


def three_members(seed: int) -> bool:
    """Whether this seed asks for a replica set of three."""
    return random.Random(f"{seed} servers").random() < 0.3


async def explore(
    seed: int,
    members: Members,
    *,
    steps: int = STEPS,
    actions: Sequence[Action] = ACTIONS,
    given: Sequence[Step] | None = None,
    workers: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Exploration:
    """Run a seed. A violation is in the result; whatever else goes wrong is raised.

    :param given: do just these, of what an earlier run of the seed did, instead of `steps` that chance chooses.
    :param workers: whether there are streams with workers, which `actions` may be about.
    """
    result = Exploration(seed, "", f"{datetime.now(UTC):%Y-%m-%d}")
    folder = Path(tempfile.mkdtemp(prefix=f"explorer-{seed}-"))
    started = time.monotonic()

    def told(line: str) -> None:
        result.story.append(f"{time.monotonic() - started:6.1f} s  {line}")
        tell(result.story[-1])

    async with _a_world(seed, members, folder, Work(seed, at_all=workers)) as world:
        result.servers = f"{world.redis.version}, {await members.version(world.client)}"
        try:
            chosen = _chosen(seed, actions) if given is None else _given(seed, actions, given)
            await _act(world, seed, chosen, steps, result, told)
        except AssertionError as violation:
            result.violation = f"{violation}"
            told(f"VIOLATION: {violation}")
            result.evidence = folder
            (folder / "story.txt").write_text("\n".join([*result.story, "", *map(str, world.history.events)]))
        result.done = world.done + world.work.done()
        result.done["entries"] = len(await world.stream()) if world.redis.running else 0
    result.seconds = time.monotonic() - started
    if result.violation is None:
        shutil.rmtree(folder)
    return result


def _chosen(seed: int, actions: Sequence[Action]) -> Iterator[tuple[Action, int, random.Random]]:
    # Chance anew for every try, so that one action's use of it does not change the others.
    for number in count(1):
        dice = random.Random(f"{seed} {number}")
        [chosen] = dice.choices(actions, [action.weight for action in actions])
        yield chosen, number, dice


def _given(seed: int, actions: Sequence[Action], given: Sequence[Step]) -> Iterator[tuple[Action, int, random.Random]]:
    by_name = {action.name: action for action in actions}
    for name, number in given:
        dice = random.Random(f"{seed} {number}")
        dice.random()  # by which it was chosen
        yield by_name[name], number, dice


async def _act(
    world: World,
    seed: int,
    chosen: Iterator[tuple[Action, int, random.Random]],
    steps: int,
    result: Exploration,
    told: Callable[[str], None],
) -> None:
    size = random.Random(f"{seed} batch").choice(BATCH_SIZES)
    told(f"{result.servers}; two relays, batches of {size}")
    told(f"{world.work}")
    async with world.at_work(seed, relay_batch_size=size, relay_trim_seconds=1):
        await world.held(60)
        for action, number, dice in chosen:
            outcome = await action.do(world, dice)
            if outcome is None:
                continue
            result.steps.append((action.name, number))
            told(f"{len(result.steps):3d}. {action.name} {outcome}".rstrip())
            result.faults[action.name] += action.fault
            world.check_relays()
            await pass_by(dice.expovariate(4))
            if len(result.steps) == steps:
                break
        await world.comes_to_rest()
        told("at rest")
        for relay in world.relays:
            relay.stop()
        world.relays.clear()
    # Relays that know nothing of what was find nothing to do over again.
    await world.stays_at_rest()
    told("and stays so")


@asynccontextmanager
async def _a_world(seed: int, members: Members, folder: Path, work: Work) -> AsyncIterator[World]:
    database = f"explorer_{seed}"
    mongod = members.primary()
    async with connect(members) as client:
        await client.drop_database(database)
        # Of a worker that is killed, what it had locked is free again after that; see docs/workers.md.
        await client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=10)
        await schema.ensure(Database(client, database), Streams([FILES, *work.streams]), FILES_APPLICATION)
        for name in ("effects", "work"):
            await client[database].create_collection(name)
        with RedisServer(folder / "redis") as redis, capture_logs() as logs:
            async with Proxy((mongod.host, mongod.port)) as to_mongo, Proxy((redis.host, redis.port)) as to_redis:
                yield World(members, client, database, redis, to_mongo, to_redis, folder, logs, work)
        # A worker that was killed in its transaction still has its locks.
        await client.admin.command("killAllSessions", [])
        await client.drop_database(database)
