"""The MongoDB of an exploration: one member behind a proxy, or three members that elect a primary."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from outbox.database import Document
from outbox.embedded import Mongod, ReplicaSet
from outbox.servers.connections import connect_mongo
from outbox.settings import OutboxSettings, load
from tests.faults.clocks import Clock, build
from tests.faults.sentinels import Watched
from tests.faults.topologies import ThreePrimaries


class Members(Protocol):
    """What an exploration can do to MongoDB. Each returns when there is a primary again."""

    behind_a_proxy: bool
    clocks: Mapping[str, Clock]
    """Those that can step, by the server."""
    farthest: int
    """Seconds that they may be off."""

    @property
    def uri(self) -> str: ...

    def primary(self) -> Mongod: ...

    def step_down(self) -> None: ...

    def crash(self) -> None: ...

    def servers(self) -> AbstractContextManager[object]:
        """They run; entered again, they run already."""
        ...

    async def version(self, client: AsyncMongoClient[Document]) -> str:
        """What there is, for people."""
        ...


class One:
    """A single member: nothing is elected, and yet it can step down and be killed."""

    behind_a_proxy = True
    farthest = 86400

    def __init__(self, folder: Path, *, clocks: bool = False) -> None:
        """:param clocks: its clock and that of its Redis can step, if there is a C compiler."""
        self.mongod = Mongod(folder / "mongod")
        self.clocks: Mapping[str, Clock] = _clocks(folder, "mongodb") if clocks and shutil.which("cc") else {}
        if self.clocks:
            self.mongod.env = self.clocks["mongodb"].environment

    @property
    def uri(self) -> str:
        return self.mongod.uri

    def primary(self) -> Mongod:
        return self.mongod

    def step_down(self) -> None:
        with self.mongod.client() as client:
            client.admin.command("replSetStepDown", 1, secondaryCatchUpPeriodSecs=0, force=True)

    def crash(self) -> None:
        self.mongod.kill()
        self.mongod.start()

    def servers(self) -> AbstractContextManager[object]:
        return self.mongod

    async def version(self, client: AsyncMongoClient[Document]) -> str:
        clock = " whose clock steps" if self.clocks else ""
        return f"one mongod {(await client.server_info())['version']}{clock}"


class Three:
    """A replica set whose primary is replaced when it falls silent."""

    behind_a_proxy = False
    farthest = 10
    """What is due at a time of one member's clock comes as much later when one is elected that is so far behind."""

    def __init__(self, folder: Path, *, clocks: bool = False) -> None:
        """:param clocks: as with one; each member has a clock of its own."""
        self.set = ReplicaSet(folder / "replica-set")
        names = [f"mongodb {number}" for number, _ in enumerate(self.set.members, 1)]
        self.clocks: Mapping[str, Clock] = _clocks(folder, *names) if clocks and shutil.which("cc") else {}
        for name, member in zip(names, self.set.members, strict=True):
            member.env = self.clocks[name].environment if self.clocks else None

    @property
    def uri(self) -> str:
        return self.set.uri

    def primary(self) -> Mongod:
        return self.set.primary()

    def step_down(self) -> None:
        self.set.step_down(2)

    def crash(self) -> None:
        old = self.set.primary()
        old.kill()
        self.set.primary()
        old.start()

    def servers(self) -> AbstractContextManager[object]:
        return self.set

    async def version(self, client: AsyncMongoClient[Document]) -> str:
        clocks = " whose clocks step" if self.clocks else ""
        return f"three mongods {(await client.server_info())['version']}{clocks}"


def _clocks(folder: Path, *mongodb: str) -> dict[str, Clock]:
    folder = folder / "clocks"
    folder.mkdir(parents=True)
    library = build(folder)
    return {server: Clock(library, folder / server) for server in (*mongodb, "redis")}


def choose(seed: int, members: Mapping[str, Members]) -> Members:
    """What this seed asks for, of members by name."""
    [name] = random.Random(f"{seed} servers").choices(list(SHARES), list(SHARES.values()))
    return members[name]


SHARES = {"three": 2, "three with clocks": 2, "one": 3, "one with clocks": 3}
"""How many seeds of ten ask for three members or for one, and for clocks that step."""


Topology = Watched | ThreePrimaries


def topology(kind: str, folder: Path) -> Topology | None:
    """The servers of a Redis that is more than one."""
    match kind:
        case "sentinels":
            return Watched(folder)
        case "a cluster":
            # Or a primary whose only slot has moved would become a replica.
            return ThreePrimaries(folder, options={"cluster-allow-replica-migration": "no"})
        case _:
            return None


def choose_topology(seed: int) -> str:
    """What this seed asks for: the others cannot be made to forget, nor be kept from relays."""
    return random.Random(f"{seed} topology").choices(["alone", "sentinels", "a cluster"], [6, 2, 2])[0]


def connect(members: Members) -> AsyncMongoClient[Document]:
    """The client's own connection: patient, since an election takes a while."""
    return connect_mongo(load(OutboxSettings, mongodb_uri=members.uri), server_selection_seconds=30)


async def accepts_writes(client: AsyncMongoClient[Document]) -> bool:
    """Whether there is a primary, and a majority that follows it."""
    try:
        await client["explorer"]["probe"].update_one({"_id": 0}, {"$inc": {"n": 1}}, upsert=True)
    except PyMongoError:
        return False
    return True
