"""The profile `ha` of compose.yaml: its own commands, run as processes on this machine instead of in containers.

Names of machines become ports here, and folders are the test's; nothing else is changed. What mongosh does is not run.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from outbox.embedded import ports
from outbox.embedded.binaries import find_redis
from outbox.embedded.process import Process
from outbox_api.demonstration.worker import connect
from tests.documents import ROOT
from tests.faults.elsewhere import elsewhere
from tests.faults.scenario import STREAM
from tests.test_compose import COMPOSE, SERVICES
from tests.waiting import eventually, eventually_sync

PASSWORD = "a1b2c3"
SENTINELS = ["sentinel-1", "sentinel-2", "sentinel-3"]


class Stack:
    """Redis, its replica and the Sentinels, each by its command in compose.yaml."""

    def __init__(self, folder: Path) -> None:
        self.ports = {name: ports.pick("127.0.0.1") for name in ("redis", "redis-replica", *SENTINELS)}
        self.processes = {name: self._process(name, folder / name) for name in self.ports}

    def _process(self, name: str, folder: Path) -> Process:
        folder.mkdir(parents=True)
        shell, option, text = SERVICES[name]["command"]
        port = self.ports[name]
        for before, after in {
            "$$": "$",
            f"--replica-announce-ip {name}": f"--replica-announce-ip 127.0.0.1 --port {port} --dir {folder}",
            "redis 6379": f"127.0.0.1 {self.ports['redis']}",
            "port 26379": f"port {port}",
            "/data/": f"{folder}/",
            "redis-server": str(find_redis(None)),
        }.items():
            text = text.replace(before, after)
        given = {"REDISCLI_AUTH": PASSWORD, "REDIS_PASSWORD": PASSWORD, "REDIS_MAXMEMORY": "64mb"}
        environment = {variable: given[variable] for variable in SERVICES[name]["environment"]}
        command = [shutil.which(shell) or shell, option, text]
        return Process(name, command, folder / "log", env={**os.environ, **environment})

    @property
    def url(self) -> str:
        """REDIS_URL as the programs get it, with the lines of .env.example uncommented."""
        text = COMPOSE["x-program"]["environment"]["REDIS_URL"]
        told = dict(re.findall(r"^#(REDIS_\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
        told["REDIS_PASSWORD"] = PASSWORD
        for name in SENTINELS:
            told["REDIS_HOSTS"] = told["REDIS_HOSTS"].replace(f"{name}:26379", f"127.0.0.1:{self.ports[name]}")
        return re.sub(r"\$\{(\w+):.[^}]*\}", lambda found: told[found[1]], text)

    def ask(self, name: str, *command: str) -> Any:
        password = None if name in SENTINELS else PASSWORD
        with Redis(port=self.ports[name], password=password, decode_responses=True) as to:
            try:
                return to.execute_command(*command)
            except RedisError:
                return None


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path / "stack")
    with ExitStack() as running:
        for name in ("redis", "redis-replica"):
            running.enter_context(made.processes[name])
            eventually_sync(lambda name=name: made.ask(name, "PING"), 20)  # type: ignore[misc]
        for name in SENTINELS:
            running.enter_context(made.processes[name])
        eventually_sync(lambda: all(known(made, name) for name in SENTINELS), 40, what="the Sentinels know each other")
        yield made


def known(stack: Stack, sentinel: str) -> bool:
    state = stack.ask(sentinel, "SENTINEL", "MASTER", "outbox") or {}
    return int(state.get("num-other-sentinels", 0)) == 2 and int(state.get("num-slaves", 0)) == 1


@pytest.mark.slow
async def test_the_replica_takes_over_and_two_relays_go_on(
    stack: Stack, mongodb_uri: str, database: str, tmp_path: Path
) -> None:
    settings = {"mongodb_uri": mongodb_uri, "mongodb_database": database, "redis_url": stack.url}
    async with elsewhere(tmp_path, **settings) as scenario:
        mongo, redis = connect(scenario.settings)  # as the worker of the same file
        with mongo, redis:
            assert redis.ping()
        with scenario.relay_process(), scenario.relay_process() as second:
            await scenario.append_many(20)
            await scenario.comes_to_rest(30)
            await eventually(lambda: stack.ask("redis-replica", "XLEN", STREAM) == 20, what="the replica has it all")
            await asyncio.to_thread(stack.processes["redis"].kill)
            second.kill()
            await scenario.append_many(20)
            await scenario.comes_to_rest(60)
        assert stack.ask("redis-replica", "ROLE")[0] == "master"
        # The old primary comes back as compose.yaml starts it, and is told that it is a replica now.
        stack.processes["redis"].start()
        await eventually(lambda: (stack.ask("redis", "ROLE") or [""])[0] == "slave", 40)
        await eventually(lambda: stack.ask("redis", "XLEN", STREAM) == 40, 20)
