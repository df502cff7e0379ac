from __future__ import annotations

import pytest

from outbox.embedded import Mongod
from tests.cli.conftest import Cli


def test_it_tells_what_it_does_and_the_second_time_that_there_is_nothing(bare: Cli, database: str) -> None:
    first = bare("init", "--files")
    assert first.code == 0
    assert "created collection outbox\n" in first.out
    assert f"database {database} is set up\n" in first.out
    assert bare("init", "--files").out == f"database {database} is set up; there was nothing to do\n"


def test_as_json(bare: Cli, database: str) -> None:
    assert "created collection outbox" in bare("init", "--files", "--json").json["done"]
    assert bare("init", "--files", "--json").json == {"database": database, "done": [], "warnings": []}


def test_it_does_not_need_redis(bare: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9")
    assert bare("init").code == 0


def test_a_mongod_without_transactions_is_told_what_it_lacks(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Mongod(tmp_path_factory.mktemp("alone"), replica_set="", initiate=False) as alone:
        monkeypatch.setenv("MONGODB_URI", f"mongodb://{alone.address}/?directConnection=true")
        monkeypatch.setattr("outbox.cli.servers.SECONDS", 3.0)
        result = cli("init")
    assert result.code == 1
    assert "no replica set" in result.err
    assert "--replSet rs0" in result.err


def test_a_subject_that_is_not_there_yet_is_named(bare: Cli, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = '{"collection": "orders", "field": "status", "wanted": ["new", {"$date": 0}, null]}'
    monkeypatch.setenv("OUTBOX_STREAMS", f'[{{"name": "orders", "group": "workers", "subject": {subject}}}]')
    line = f"stream orders: its subject's collection {database}.orders does not exist"
    result = bare("init")
    assert (result.code, f"warning: {line}" in result.out) == (0, True)
    assert bare("init", "--json").json["warnings"][0].startswith(line)
    [stream] = bare("streams", "list", "--json").json["streams"]
    assert stream["subject"]["wanted"] == ["new", "1970-01-01T00:00:00.000Z", None]


def test_the_files_application_is_set_up_when_asked_for_and_then_kept(bare: Cli, mongod: Mongod, database: str) -> None:
    assert "created collection files\n" not in bare("init").out
    assert "created collection files\n" in bare("init", "--files").out
    assert bare("init").out == f"database {database} is set up; there was nothing to do\n"
    with mongod.client() as client:
        client[database].idempotency_keys.drop()
    assert "created collection idempotency_keys\n" in bare("init").out


def test_a_dry_run_changes_nothing(bare: Cli, mongod: Mongod, database: str) -> None:
    planned = bare("init", "--dry-run")
    assert planned.code == 0
    assert "would have created collection outbox\n" in planned.out
    assert planned.out.endswith(f"database {database}: nothing was changed\n")
    assert "created collection outbox" in bare("init", "--dry-run", "--json").json["planned"]
    with mongod.client() as client:
        assert client[database].list_collection_names() == []


def test_a_collection_of_somebody_else_is_a_wrong_setting(bare: Cli, mongod: Mongod, database: str) -> None:
    with mongod.client() as client:
        client[database].outbox.insert_one({"_id": 1})
    refused = bare("init")
    assert refused.code == 2
    assert f"{database}.outbox, which holds documents" in refused.err
    assert "OUTBOX_PREFIX" in refused.err
    with mongod.client() as client:
        assert client[database].list_collection_names() == ["outbox"]
