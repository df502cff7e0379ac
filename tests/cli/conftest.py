"""The command line, called in this process as a shell would call it, on real servers."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from outbox.cli import main
from outbox.embedded import Mongod
from outbox.message.document import State
from tests.outbox.shelf import a_document
from tests.waiting import PATIENCE


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Typed(io.StringIO):
    """What somebody types who sits before a terminal."""

    def isatty(self) -> bool:
        return True


class Cli:
    """`cli("dead", "list")` is `outbox dead list` in a shell, with the servers of this test in the environment."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: object, types: str | None = None, terminal: bool = False) -> Result:
        """`types`: there is a terminal, and this is typed on it. `terminal`: the output is one."""
        with self._monkeypatch.context() as patch:
            if types is not None:
                patch.setattr(sys, "stdin", Typed(types))
            if terminal:
                patch.setattr(sys.stdout, "isatty", lambda: True)
            with pytest.raises(SystemExit) as ended:
                main([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        assert "Traceback" not in err
        return Result(code, out, err)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Without servers: nothing listens where the settings point to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("MONGODB_URI", "mongodb://user:s3cr3t@127.0.0.1:9/?directConnection=true")
    monkeypatch.setenv("REDIS_URL", "redis://:s3cr3t@127.0.0.1:9/0")
    monkeypatch.setattr("outbox.cli.servers.SECONDS", 0.2)
    return Cli(capsys, monkeypatch)


@pytest.fixture
def bare(cli: Cli, monkeypatch: pytest.MonkeyPatch, mongodb_uri: str, redis_url: str, database: str) -> Cli:
    """With servers, and a database that was not set up."""
    monkeypatch.setenv("MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("MONGODB_DATABASE", database)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setattr("outbox.cli.servers.SECONDS", 3.0 * PATIENCE)
    monkeypatch.setattr("outbox.operations.stats.REDIS_SECONDS", 30.0)
    return cli


@pytest.fixture
def outbox(reused: None, bare: Cli) -> Cli:
    """With servers, and a database of this test's own."""
    assert bare("init").code == 0
    return bare


@pytest.fixture
def with_files(reused_with_files: None, outbox: Cli) -> Cli:
    """The same, set up with the files application."""
    assert outbox("init", "--files").code == 0
    return outbox


class Shelf:
    """Puts messages and files where the commands find them."""

    def __init__(self, db: Database[dict[str, Any]]) -> None:
        self.db = db

    def put(self, state: State, count: int = 1, **values: Any) -> list[ObjectId]:
        documents = [a_document(state, **values) for _ in range(count)]
        self.db.outbox.insert_many(documents)
        return [document["_id"] for document in documents]

    def put_file(self, parsing: str, **values: Any) -> ObjectId:
        id_ = ObjectId()
        self.db.files.insert_one({"_id": id_, "parsing": parsing, "version": 1, **values})
        return id_

    def states(self, *ids: ObjectId) -> list[str]:
        found = {message["_id"]: message["state"] for message in self.db.outbox.find({"_id": {"$in": ids}})}
        return [found.get(id_, "gone") for id_ in ids]


@pytest.fixture
def shelf(mongod: Mongod, database: str) -> Iterator[Shelf]:
    with mongod.client() as client:
        yield Shelf(client[database])
