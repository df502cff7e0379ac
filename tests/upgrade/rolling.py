"""The rolling restart itself: programs of the version before and of today side by side, under uploads.

Run by hand, because it needs that version, installed as `record.py` says:

    .venv/bin/python -m tests.upgrade.rolling /tmp/before/.venv/bin/python
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from pymongo import MongoClient

from outbox.embedded import Mongod, RedisServer, ports
from tests.waiting import answers, eventually_sync, stays

DATABASE = "outbox"
HANDLER = """
from bson import ObjectId

async def handle(message, session):
    database = session.client["outbox"]
    await database.handled.insert_one({"message": message.id}, session=session)
    await database.files.update_one({"_id": ObjectId(message.key)}, {"$set": {"parsing": "parsed"}}, session=session)
"""
READINESS_SECONDS = 35
"""Longer than an API goes between two looks at the whole schema."""


class Rolling:
    """One database, one Redis, and programs of two versions."""

    def __init__(self, folder: Path, mongod: Mongod, redis: RedisServer, running: ExitStack) -> None:
        (folder / "handlers.py").write_text(HANDLER)
        self.environment = {
            **os.environ, "MONGODB_URI": mongod.uri, "MONGODB_DATABASE": DATABASE, "REDIS_URL": redis.url,
            "PYTHONPATH": str(folder),
        }  # fmt: skip
        self.folder, self.running = folder, running
        client: MongoClient[dict[str, Any]] = running.enter_context(MongoClient(mongod.uri))
        self.database = client[DATABASE]
        self.port = 0
        """Where uploads go."""
        self.answers: Counter[int | str] = Counter()
        self.end = threading.Event()

    def run(self, python: str, *arguments: str) -> str:
        command = [python, "-P", "-m", "outbox", *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def start(self, python: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = self.running.enter_context((self.folder / "log").open("ab"))
        command = [python, "-P", "-m", "outbox", *arguments]
        process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        self.running.callback(process.kill)
        return process

    def api(self, python: str) -> tuple[subprocess.Popen[bytes], int]:
        port = ports.pick("127.0.0.1")
        process = self.start(python, "api", "--port", str(port))
        eventually_sync(lambda: self.ready(port), 60, what="the API is ready")
        return process, port

    def ready(self, port: int) -> bool:
        return answers(f"http://127.0.0.1:{port}/health/ready")

    def upload(self) -> None:
        while not self.end.wait(0.1):
            try:
                url = f"http://127.0.0.1:{self.port}/files"
                answer = httpx.post(url, files={"file": ("a", b"a")}, data={"folderId": "f"}, timeout=30)
                self.answers[answer.status_code] += 1
            except httpx.TransportError as error:
                self.answers[repr(error)] += 1

    def some_more(self, count: int = 30) -> None:
        """So many uploads later."""
        least = self.answers.total() + count
        eventually_sync(lambda: self.answers.total() >= least, 60)


def restart(rolling: Rolling, before: str, today: str) -> None:
    rolling.run(before, "init")
    old_api, old_port = rolling.api(before)
    old = [
        rolling.start(before, "relay", "--port", "0"),
        rolling.start(before, "worker", "--handler", "handlers:handle"),
    ]
    rolling.port = old_port
    uploading = threading.Thread(target=rolling.upload)
    uploading.start()
    rolling.some_more()
    rolling.run(today, "init")
    asyncio.run(stays(lambda: asyncio.to_thread(rolling.ready, old_port), READINESS_SECONDS, every=1))
    rolling.start(today, "relay", "--port", "0")
    rolling.start(today, "worker", "--handler", "handlers:handle")
    _, new_port = rolling.api(today)
    rolling.some_more()
    rolling.port = new_port
    for process in (old_api, *old):
        rolling.some_more()
        process.terminate()
        assert process.wait(60) == 0
    rolling.some_more()
    rolling.end.set()
    uploading.join()

    unfinished = {"state": {"$ne": "completed"}}
    eventually_sync(lambda: not rolling.database.outbox.count_documents(unfinished), 60, what="all is handled")
    handled = Counter(one["message"] for one in rolling.database.handled.find())
    assert set(rolling.answers) == {201}, rolling.answers
    assert len(handled) == rolling.answers[201]
    assert set(handled.values()) == {1}
    assert json.loads(rolling.run(today, "verify", "--json")) == {"findings": []}
    print(f"{len(handled)} uploads, each handled once, and all is well")


def main(before: str) -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        mongod = running.enter_context(Mongod(folder / "mongod"))
        redis = running.enter_context(RedisServer(folder / "redis"))
        rolling = Rolling(folder, mongod, redis, running)
        running.callback(rolling.end.set)
        restart(rolling, before, sys.executable)


if __name__ == "__main__":
    main(sys.argv[1])
