from __future__ import annotations

import pytest

from outbox.embedded import Mongod
from tests.cli.conftest import Cli


def test_it_tells_what_it_does_and_the_second_time_that_there_is_nothing(bare: Cli, database: str) -> None:
    first = bare("init")
    assert first.code == 0
    assert "created collection outbox\n" in first.out
    assert f"database {database} is set up\n" in first.out
    assert bare("init").out == f"database {database} is set up; there was nothing to do\n"


def test_as_json(bare: Cli, database: str) -> None:
    assert "created collection outbox" in bare("init", "--json").json["done"]
    assert bare("init", "--json").json == {"database": database, "done": [], "warnings": []}


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
    subject = '{"collection": "orders", "field": "status", "wanted": ["new", 7, null]}'
    monkeypatch.setenv("OUTBOX_STREAMS", f'[{{"name": "orders", "group": "workers", "subject": {subject}}}]')
    line = f"stream orders: its subject's collection {database}.orders does not exist"
    result = bare("init")
    assert (result.code, f"warning: {line}" in result.out) == (0, True)
    assert bare("init", "--json").json["warnings"][0].startswith(line)
