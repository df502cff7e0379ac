"""An embedded MongoDB replica set of several members, for what only elections and lagging members can
show.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from pymongo.errors import PyMongoError

from outbox.embedded.failures import NotStarted
from outbox.embedded.mongod import Mongod

_POLL_SECONDS = 0.05
_PROBE_SECONDS = 1.0


class ReplicaSet:
    """`size` mongods that form one replica set. Members are killed, paused and started one by one by their
    own methods.

    Elections are quick: a primary that is silent for `election_milliseconds` is replaced.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        size: int = 3,
        name: str = "rs0",
        binary: str | Path | None = None,
        cache_gigabytes: float = 0.5,
        election_milliseconds: int = 1000,
        extra_args: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.election_milliseconds = election_milliseconds
        self.members = [
            Mongod(
                data_dir / f"member-{number}",
                binary=binary,
                replica_set=name,
                initiate=False,
                cache_gigabytes=cache_gigabytes,
                extra_args=extra_args,
                name=f"mongod-{number}",
            )
            for number in range(size)
        ]

    @property
    def uri(self) -> str:
        return f"mongodb://{','.join(member.address for member in self.members)}/?replicaSet={self.name}"

    def start(self, seconds: float = 60) -> None:
        """Start every member that does not run, form the set at the first start, and wait for a primary."""
        first = all(member.returncode is None and not member.running for member in self.members)
        for member in self.members:
            member.start(seconds)
        if first:
            self._initiate()
        self.primary(seconds)

    def stop(self, seconds: float = 10) -> None:
        """Stop every member that runs, the primary last, so that no election disturbs the others."""
        for member in sorted((m for m in self.members if m.running), key=self._is_primary):
            member.stop(seconds)

    def primary(self, seconds: float = 30) -> Mongod:
        """The member that is primary, once there is exactly one; NotStarted when there is none in
        `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            primaries = [member for member in self.members if member.running and self._is_primary(member)]
            if len(primaries) == 1:
                return primaries[0]
            if time.monotonic() > deadline:
                raise NotStarted(f"the replica set {self.name} has {len(primaries)} primaries after {seconds:g} s")
            time.sleep(_POLL_SECONDS)

    def secondaries(self) -> list[Mongod]:
        """The members that run and are not the primary."""
        primary = self.primary()
        return [member for member in self.members if member.running and member is not primary]

    def step_down(self, seconds: int = 10) -> Mongod:
        """Make the primary resign for `seconds`; returns the new primary."""
        old = self.primary()
        with old.client(timeout_seconds=30) as client:
            client.admin.command("replSetStepDown", seconds, secondaryCatchUpPeriodSecs=min(5, seconds), force=True)
        return self.primary()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _initiate(self) -> None:
        config = {
            "_id": self.name,
            "members": [{"_id": number, "host": member.address} for number, member in enumerate(self.members)],
            "settings": {
                "electionTimeoutMillis": self.election_milliseconds,
                "heartbeatIntervalMillis": max(100, self.election_milliseconds // 5),
            },
        }
        with self.members[0].client(timeout_seconds=30) as client:
            client.admin.command("replSetInitiate", config)

    def _is_primary(self, member: Mongod) -> bool:
        try:
            with member.client(timeout_seconds=_PROBE_SECONDS) as client:
                return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False  # paused, or on its way down
