"""One exploration: a seed's actions, one after the other, and what the judge says in the end."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path

from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect
from structlog.testing import capture_logs

from outbox.database import Database, Document
from outbox.embedded import RedisServer
from outbox.message import schema
from outbox.streams.declaration import FILES, Streams
from outbox_api.collections import FILES_APPLICATION
from tests.faults.explorer.actions import ACTIONS, NOT_BEYOND_ONE_SERVER, OF_WORKERS
from tests.faults.explorer.actions.action import Action
from tests.faults.explorer.defects import check_processes
from tests.faults.explorer.servers import Members, Topology, choose_topology, connect, topology
from tests.faults.explorer.work import Work
from tests.faults.explorer.world import RELAYS, World
from tests.faults.proxy import Proxy
from tests.faults.scenario import STREAM
from tests.faults.sentinels import Watched
from tests.faults.topologies import ThreePrimaries
from tests.waiting import eventually, pass_by

STEPS = 40
ELECTED_SECONDS = 60
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


async def explore(
    seed: int,
    members: Members,
    *,
    steps: int = STEPS,
    actions: Sequence[Action] | None = None,
    given: Sequence[Step] | None = None,
    workers: bool = True,
    redis: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Exploration:
    """Run a seed. A violation is in the result; whatever else goes wrong is raised.

    :param actions: to choose from, instead of `some(seed)`.
    :param given: do just these, of what an earlier run of the seed did, instead of `steps` that chance chooses.
    :param workers: whether there are streams with workers, which `actions` may be about.
    :param redis: what kind of Redis there is, instead of what the seed asks for, see `servers.topology`.
    """
    kind = redis or choose_topology(seed)
    # In a cluster, plain workers would have to find their nodes.
    workers = workers and kind != "a cluster"
    if actions is None:
        actions = ACTIONS if given else some(seed)
    result = Exploration(seed, "", f"{datetime.now(UTC):%Y-%m-%d}")
    folder = Path(tempfile.mkdtemp(prefix=f"explorer-{seed}-"))
    started = time.monotonic()

    def told(line: str) -> None:
        result.story.append(f"{time.monotonic() - started:6.1f} s  {line}")
        tell(result.story[-1])

    async with _a_world(seed, members, folder, Work(seed, at_all=workers), kind) as world:
        result.servers = f"{world.redis.version}, {await members.version(world.client)}"
        if world.topology:
            result.servers += f", {kind}"
            actions = [one for one in actions if one not in NOT_BEYOND_ONE_SERVER]
        if not workers:
            actions = [one for one in actions if one not in OF_WORKERS]
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


def some(seed: int) -> list[Action]:
    """What a seed may choose from: of two seeds, one has a third of the actions, the other all of them.

    Where there are few, two or three certain ones come one after the other much more often. Swarm testing: Groce and
    others, "Swarm Testing", ISSTA 2012.
    """
    dice = random.Random(f"{seed} some")
    part = dice.choice([1, 1 / 3])
    return [action for action in ACTIONS if not action.fault or dice.random() < part]


def _chosen(seed: int, actions: Sequence[Action]) -> Iterator[tuple[Action, int, random.Random]]:
    # Chance anew for every try, so that one action's use of it does not change the others.
    for number in count(1) if actions else ():  # none: of these servers, there is nothing that could happen
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
    sizes = random.Random(f"{seed} batch").choices(BATCH_SIZES, k=RELAYS)
    told(f"{result.servers}; relays with batches of {' and '.join(map(str, sizes))}")
    told(f"{world.work}")
    confirm = "replica" if isinstance(world.topology, Watched) else "none"
    usual = {"relay_trim_seconds": 1, "relay_confirm": confirm}
    async with world.at_work(seed, [{"relay_batch_size": size, **usual} for size in sizes]):
        await world.held(60)
        for action, number, dice in chosen:
            outcome = await action.do(world, dice)
            if outcome is None:
                continue
            result.steps.append((action.name, number))
            told(f"{len(result.steps):3d}. {action.name} {outcome}".rstrip())
            result.faults[action.name] += action.fault
            check_processes(world.relays, world.work, world.down)
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
async def _a_world(seed: int, members: Members, folder: Path, work: Work, kind: str) -> AsyncIterator[World]:
    database = f"explorer_{seed}"
    for clock in members.clocks.values():
        clock.set(max(clock.seconds, 0))  # where a finding left it behind, nothing that is scheduled would be due
    async with connect(members) as client, AsyncExitStack() as stack:
        await eventually(partial(_dropped, client, database), ELECTED_SECONDS, what="a primary takes writes")
        mongod = members.primary()
        await schema.ensure(Database(client, database), Streams([FILES, *work.streams]), FILES_APPLICATION)
        for name in ("effects", "work"):
            await client[database].create_collection(name)
        servers = topology(kind, folder / "redis")
        redis = _redis(servers or RedisServer(folder / "redis"), members, stack)
        logs = stack.enter_context(capture_logs())
        to_mongo = await stack.enter_async_context(Proxy((mongod.host, mongod.port)))
        to_redis = await stack.enter_async_context(Proxy((redis.host, redis.port)))
        yield World(members, client, database, redis, to_mongo, to_redis, folder, logs, work, servers)
        # A worker that was killed in its transaction still has its locks.
        await client.admin.command("killAllSessions", [])
        await client.drop_database(database)


async def _dropped(client: AsyncMongoClient[Document], database: str) -> bool:
    try:
        await client.drop_database(database)
    except AutoReconnect:  # by the clocks that were just set, or on a busy machine, they may be electing one
        return False
    return True


def _redis(servers: RedisServer | Topology, members: Members, stack: AsyncExitStack) -> RedisServer:
    """Start them; returns the one that has the streams."""
    if isinstance(servers, RedisServer) and members.clocks:
        servers.env = members.clocks["redis"].environment
    stack.enter_context(servers)
    match servers:
        case Watched():
            return servers.primary()
        case ThreePrimaries():
            return servers.owner(STREAM)
        case _:
            return servers
