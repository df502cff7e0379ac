"""An embedded MongoDB: one mongod, by default as a replica set of its own, since transactions need one."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from outbox.embedded.binaries import find_mongod
from outbox.embedded.server import PROBE_SECONDS, Server

_NOT_INITIATED = 94  # NotYetInitialized
_ANSWER_SECONDS = 5.0


class Mongod(Server):
    """A mongod. With `initiate` it makes itself the only member of its replica set and is started once it
    is primary.

    `cache_gigabytes` bounds WiredTiger's cache (its own default is half of the machine's memory). At 0.25, mongod
    now and then refuses documents near the limit of 16 MB: a few at once are a tenth of the cache. The data
    can be started under another port or host later: the set's configuration follows.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        binary: str | Path | None = None,
        replica_set: str = "rs0",
        initiate: bool = True,
        cache_gigabytes: float = 0.5,
        extra_args: Iterable[str] = (),
        name: str = "mongod",
    ) -> None:
        super().__init__(name, data_dir, host=host, port=port)
        self.binary = binary
        self.replica_set = replica_set
        self.initiate = initiate
        self.cache_gigabytes = cache_gigabytes
        self.extra_args = list(extra_args)

    @property
    def uri(self) -> str:
        return f"mongodb://{self.address}/?replicaSet={self.replica_set}"

    @contextmanager
    def client(self, *, timeout_seconds: float = _ANSWER_SECONDS) -> Iterator[MongoClient[dict[str, Any]]]:
        """A synchronous client to this very member, whatever its role. Every wait in it is bounded."""
        milliseconds = int(timeout_seconds * 1000)
        client: MongoClient[dict[str, Any]] = MongoClient(
            self.host,
            self.port,
            directConnection=True,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
        )
        with client:
            yield client

    def hello(self) -> dict[str, Any]:
        """What it says of itself and its replica set. PyMongoError when it does not answer."""
        with self.client() as client:
            return dict(client.admin.command("hello"))

    def _command(self) -> Sequence[str]:
        command = [str(find_mongod(self.binary)), "--dbpath", str(self.data_dir.absolute())]
        command += ["--bind_ip", self.host, "--port", str(self.port), "--replSet", self.replica_set]
        command += ["--wiredTigerCacheSizeGB", f"{self.cache_gigabytes:g}", "--quiet", "--nounixsocket"]
        # By default a primary that is asked to stop lets its clients look for another one for 15 seconds
        # first.
        command += ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"]
        command += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        return [*command, *self.extra_args]

    def _answers(self) -> bool:
        if not self._listens():
            return False
        try:
            with self.client(timeout_seconds=PROBE_SECONDS) as client:
                # Another program's mongod on the same port would answer as well.
                if client.admin.command("serverStatus")["pid"] != self.pid:
                    return False
                if not self.initiate:
                    return True
                self._configure(client)
                return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False

    def _listens(self) -> bool:
        # A driver that finds nobody waits half a second before it looks again; a start takes less than that.
        try:
            socket.create_connection((self.host, self.port), timeout=PROBE_SECONDS).close()
        except OSError:
            return False
        return True

    def _configure(self, client: MongoClient[dict[str, Any]]) -> None:
        try:
            config: dict[str, Any] = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != _NOT_INITIATED:
                raise
            config = {"_id": self.replica_set, "members": [{"_id": 0, "host": self.address}]}
            client.admin.command("replSetInitiate", config)
            return
        if config["members"][0]["host"] != self.address:
            # The data moved to another port: a member that does not find itself in its set never becomes
            # primary.
            config["members"] = [{**config["members"][0], "host": self.address}]
            config["version"] += 1
            client.admin.command("replSetReconfig", config, force=True)

    def _reason(self, log: str) -> str | None:
        if "DBPathInUse" in log:
            return f"another mongod uses the data directory {self.data_dir}"
        if self.returncode == -signal.SIGILL:
            return "this processor lacks an instruction that MongoDB 5 and later need (AVX)"
        return next((fault for line in reversed(log.splitlines()) if (fault := fault_in(line))), None)


def fault_in(line: str) -> str | None:
    """What a line of a mongod's log (a JSON document each) says, if it tells of an error."""
    if not line.startswith("{"):
        return line if line.startswith("Error") else None
    entry = json.loads(line)
    return f"{entry['msg']} {json.dumps(entry.get('attr', {}))}" if entry.get("s") in ("E", "F") else None
