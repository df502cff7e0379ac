"""The diagnosis: a sentence about the whole, what matters most first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from outbox.delivery.depth import Depth
from outbox.delivery.groups import Consumer, Group, Readers
from outbox.message.document import State
from outbox.operations import diagnosis
from outbox.operations.diagnosis import Level
from outbox.operations.samples import Queued, Sample
from outbox.operations.stats import Queue, Status
from outbox.operations.workers import Held, Worker
from outbox.servers.causes import Cause
from outbox.streams.declaration import FILES, Streams

STREAMS = Streams([FILES])
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def a_sample(**changes: Any) -> Sample:
    """All is well."""
    queue = Queue({FILES.name: Depth(5, 0, 0)}, True, None, "noeviction")
    partitions = tuple(
        {"stream": FILES.name, "number": n, "owner": "r", "expires_in_seconds": 5.0, "token": 1, "batch": 1}
        for n in range(4)
    )
    messages = dict.fromkeys(State, 0)
    status = Status(NOW, messages, None, queue, partitions, ({"id": "r"},), ())
    group = Group(FILES.group, True, 0, 0, (Consumer("w", 0, 1.0),))
    sample = Sample(status, {FILES.name: Readers((group,), 5)}, 0, 5, (), (), (), ())
    known = {name: changes.pop(name) for name in ("readers", "queued") if name in changes}
    return replace(sample, status=replace(status, **changes), **known)


def counts(**states: int) -> dict[State, int]:
    return {state: states.get(state.value, 0) for state in State}


DOWN = Queue({FILES.name: Depth()}, False, Cause("Redis cannot be reached", "Start it.", True))
REFUSED = Queue({}, True, Cause("Redis's user lacks a permission", "Grant it.", detail="xadd"))
REFUSED_RELAY = {"id": "r", "waits_for": [{"server": "redis", "what": "Redis is full", "do": "Raise maxmemory."}]}
FULL = Queue({FILES.name: Depth(FILES.max_undelivered, FILES.max_undelivered, 0)}, True, None, "noeviction")
OLD = Queued(ObjectId(), "a", "f", None, NOW - timedelta(hours=1))
SILENT = Readers((Group(FILES.group, True, 3, 0, (Consumer("w", 0, 400.0),)),), 5)
NOBODY = Readers((Group(FILES.group, True, 3, 0, ()),), 5)
HOLDS = Readers((Group(FILES.group, True, 0, 2, (Consumer("w-2", 2, 4000.0),)),), 5)
HELD = Held(FILES.name, "key", OLD.id, "1-1", 1, 900.0, 3600.0)
STUCK = Worker("w-2", "here", 7, (FILES.name,), 4, 4000.0, 1.0, False, 2, (HELD,))
FREE = ({"stream": FILES.name, "number": 3, "owner": None, "expires_in_seconds": None, "token": 0, "batch": 0},)


@pytest.mark.parametrize(
    ("changes", "level", "seen"),
    [
        ({}, Level.WELL, "All is well. Nothing waits"),
        ({"messages": counts(pending=3)}, Level.WELL, "All is well. 3 messages are on the way"),
        ({"queue": DOWN, "messages": counts(pending=1200)}, Level.BROKEN, "1,200 messages wait in MongoDB"),
        (
            {"relays": (REFUSED_RELAY,), "oldest_pending_seconds": 90.0, "messages": counts(pending=2)},
            Level.BROKEN,
            "The relay r waits for redis: Redis is full: 2 messages wait in MongoDB until that is over.",
        ),
        (
            {"queue": REFUSED},
            Level.BROKEN,
            "Redis's user lacks a permission (xadd)",
        ),
        ({"relays": (), "messages": counts(pending=1)}, Level.BROKEN, "No relay is running: 1 message waits"),
        ({"oldest_pending_seconds": 90.0, "messages": counts(pending=1)}, Level.BROKEN, "waited for 1 min 30 s"),
        (
            {
                "oldest_pending_seconds": 90.0,
                "oldest_partition": f"{FILES.name}/2",
                "messages": counts(pending=1),
            },
            Level.BROKEN,
            "file_parsing_queue/2 stands still, and its owner is the relay r: a message has waited",
        ),
        (
            {"queue": FULL, "oldest_pending_seconds": 90.0, "messages": counts(pending=1)},
            Level.LOOK,
            "entries that no worker has; the rest waits in MongoDB",
        ),
        ({"partitions": FREE, "messages": counts(pending=1)}, Level.LOOK, "1 partition without an owner (file_parsing"),
        ({"readers": {FILES.name: SILENT}}, Level.BROKEN, "no worker has asked for 6 min 40 s; the last was w"),
        ({"readers": {FILES.name: NOBODY}}, Level.BROKEN, "3 entries of file_parsing_queue wait, and no worker has"),
        ({"readers": {FILES.name: HOLDS}}, Level.LOOK, "The worker w-2 has held 2 entries"),
        (
            {"workers": (STUCK,), "readers": {FILES.name: HOLDS}},
            Level.LOOK,
            f"The worker w-2 (process 7 on here) has worked on message {OLD.id} of file_parsing_queue for 15 min.",
        ),
        ({"queued": (OLD,)}, Level.BROKEN, "A file is queued, and nothing is on its way"),
        ({"queued": (OLD,), "messages": counts(pending=1)}, Level.WELL, "All is well"),
        ({"messages": counts(dead=2)}, Level.LOOK, "2 messages could not be delivered"),
    ],
)
def test_the_first_sentence_names_what_matters_most(changes: dict[str, Any], level: Level, seen: str) -> None:
    first = diagnosis.diagnose(a_sample(**changes), STREAMS)[0]
    assert seen in first.seen
    assert first.level is level
    assert first.do


def test_a_worker_that_records_what_it_holds_is_named_once() -> None:
    found = diagnosis.diagnose(a_sample(workers=(STUCK,), readers={FILES.name: HOLDS}), STREAMS)
    assert [finding.name for finding in found] == ["worker-stuck"]


def test_what_stands_still_comes_before_what_can_wait() -> None:
    found = diagnosis.diagnose(a_sample(queue=DOWN, relays=(), messages=counts(dead=1, pending=4)), STREAMS)
    assert [finding.level for finding in found] == [Level.BROKEN, Level.BROKEN, Level.LOOK]
