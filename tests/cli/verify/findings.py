"""What verify finds, and whether what it says mends it."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bson import ObjectId

from outbox.message.document import State
from outbox.streams.declaration import FILE_GROUP, FILE_STREAM
from tests.cli.conftest import Cli, Shelf
from tests.relay.processes import a_relay

LONG_AGO = datetime.now(UTC) - timedelta(hours=2)
CHECKPOINT = f"{{{FILE_STREAM}}}:outbox:0"


def listed(shelf: Shelf) -> None:
    shelf.db.outbox_relays.insert_one({"_id": "relay-1", "expires_at": datetime.now(UTC) + timedelta(hours=1)})


def published(shelf: Shelf, redis: Any, count: int = 1, **values: Any) -> list[ObjectId]:
    """Messages that were published long ago and whose files wait, with their entries in the stream."""
    ids = []
    for _ in range(count):
        file = shelf.put_file("queued", updated_at=LONG_AGO)
        [id_] = shelf.put(State.PUBLISHED, key=str(file), partition=0, **values)
        entry = redis.xadd(FILE_STREAM, {"file_id": str(file), "message_id": str(id_), "attempt": "1"})
        shelf.db.outbox.update_one({"_id": id_}, {"$set": {"entries": {"first": entry, "last": entry}}})
        ids.append(id_)
    shelf.db.outbox_partitions.update_one({"_id": f"{FILE_STREAM}/0"}, {"$set": {"batch": 1, "tag": "t", "token": 1}})
    redis.hset(CHECKPOINT, mapping={"token": 1, "batch": 1, "tag": "t"})
    if not any(group["name"] == FILE_GROUP for group in redis.xinfo_groups(FILE_STREAM)):
        redis.xgroup_create(FILE_STREAM, FILE_GROUP, "0")
    return ids


def found(cli: Cli, *options: object) -> list[str]:
    return sorted(finding["check"] for finding in cli("verify", *options, "--json").json["findings"])


def only(cli: Cli, check: str, *options: object) -> dict[str, Any]:
    """The one finding, which must tell what it is, what it means and what to do."""
    result = cli("verify", *options, "--json")
    assert result.code == 1
    findings = result.json["findings"]
    assert [finding["check"] for finding in findings] == [check], findings
    finding: dict[str, Any] = findings[0]
    assert finding["what"]
    assert finding["means"]
    assert finding["mend"]
    return finding


def mended_by_command(cli: Cli, finding: dict[str, Any], *more: str) -> None:
    """What it says, typed as it says."""
    words = shlex.split(finding["mend"])
    assert words[0] == "outbox"
    assert cli(*words[1:], *more).code == 0


def mended_by_a_relay(shelf: Shelf, tmp_path: Path) -> None:
    """A real one, in the place of the one that is only in the list."""
    shelf.db.outbox_relays.delete_many({})
    with a_relay(tmp_path / "relay.log", {}, "--once") as relay:
        assert relay.wait(30) == 0, relay.text()
    listed(shelf)


def mended_by_repair(cli: Cli, check: str) -> None:
    result = cli("verify", "--repair", "--json")
    assert result.code == 0, result.json
    assert [f["repaired"] for f in result.json["findings"] if f["check"] == check] == [1]
    assert cli("audit", "--action", "repair", "--json").json["records"][0]["details"]["check"] == check
