"""How the servers are set up."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from outbox.embedded import Mongod
from tests.cli.conftest import Cli, Shelf
from tests.cli.verify.findings import found, mended_by_command, only


def test_a_schema_that_differs(healthy: Cli, shelf: Shelf) -> None:
    shelf.db.outbox.drop_index("pending")
    finding = only(healthy, "schema")
    mended_by_command(healthy, finding)
    assert found(healthy) == []
    shelf.db.command("collMod", "outbox", validator={})
    assert healthy("verify", "--repair").code == 0
    assert found(healthy) == []


def test_an_index_that_an_operator_has_hidden(healthy: Cli, shelf: Shelf) -> None:
    """A relay asks for it by name, and MongoDB refuses that."""
    hide = {"collMod": "outbox", "index": {"name": "pending", "hidden": True}}
    shelf.db.command(hide)
    assert "index outbox.pending is hidden" in only(healthy, "schema")["what"]
    refused = healthy("init")
    assert refused.code == 2
    assert "unhideIndex" in refused.err
    shelf.db.command({**hide, "index": {"name": "pending", "hidden": False}})
    assert found(healthy) == []


def test_what_others_add_to_collections_and_lose_messages_by(healthy: Cli, shelf: Shelf) -> None:
    shelf.db.outbox.create_index("created_at", expireAfterSeconds=3600)
    finding = only(healthy, "schema-additions")
    assert "index outbox.created_at_1 deletes documents by their age" in finding["what"]
    shelf.db.outbox.drop_index("created_at_1")
    shelf.db.outbox.create_index("created_at")  # of an operator, for his own questions
    assert found(healthy) == []
    shelf.db.files.delete_many({})
    clustered: dict[str, Any] = {"clusteredIndex": {"key": {"_id": 1}, "unique": True}}
    for name, options, what in (
        ("outbox", {"capped": True, "size": 100_000}, "is capped"),
        ("outbox", clustered | {"expireAfterSeconds": 500}, "deletes documents"),
        ("outbox_streams", {"collation": {"locale": "en", "strength": 1}}, "has a collation"),
    ):
        shelf.db.drop_collection(name)
        shelf.db.create_collection(name, **options)
        assert healthy("init").code == 0
        assert f"collection {name} {what}" in only(healthy, "schema-additions")["what"]
        shelf.db.drop_collection(name)
        assert healthy("init").code == 0


def test_a_redis_that_forgets(healthy: Cli, redis: Any) -> None:
    before = redis.config_get("appendonly")["appendonly"]
    try:
        redis.config_set("appendonly", "no")
        redis.config_set("maxmemory-policy", "allkeys-lru")
        assert found(healthy) == ["append-only-file", "eviction"]
        for finding in healthy("verify", "--json").json["findings"]:
            redis.execute_command(*shlex.split(finding["mend"].split(",")[0])[1:])  # as redis-cli would
        assert found(healthy) == []
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("appendonly", before)


def test_retention_against_backups(healthy: Cli) -> None:
    assert found(healthy, "--redis-backup", "3d") == []
    finding = only(healthy, "retention", "--redis-backup", "10d")
    assert "OUTBOX_RETENTION_DAYS=10" in finding["mend"]


def test_servers_that_are_away(healthy: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
        assert healthy("verify").code == 3
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:9/?directConnection=true")
    assert healthy("verify").code == 3


class Alone(Mongod):
    """Without a replica set."""

    def _command(self) -> list[str]:
        command = list(super()._command())
        at = command.index("--replSet")
        return command[:at] + command[at + 2 :]


def test_a_mongodb_without_transactions(bare: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Alone(tmp_path / "mongod", initiate=False) as alone:
        monkeypatch.setenv("MONGODB_URI", f"mongodb://{alone.address}/?directConnection=true")
        finding = only(bare, "replica-set")
    assert "--replSet rs0" in finding["mend"]
    # As it says: the same data, as the only member of a set.
    with Mongod(tmp_path / "mongod") as member:
        monkeypatch.setenv("MONGODB_URI", member.uri)
        assert bare("init").code == 0
        assert "replica-set" not in found(bare)
