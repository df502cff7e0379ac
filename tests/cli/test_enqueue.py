from __future__ import annotations

import pytest
from bson import ObjectId

from tests.cli.conftest import Cli, Shelf

pytestmark = pytest.mark.usefixtures("with_files")


def test_a_file_is_queued_in_its_next_version_with_a_message(outbox: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("parsed", folder_id="f")
    [queued] = outbox("enqueue", file, "--json").json["enqueued"]
    record = shelf.db.files.find_one({"_id": file})
    message = shelf.db.outbox.find_one({"_id": ObjectId(queued["message_id"])})
    assert record
    assert message
    assert (record["parsing"], record["version"], record["message_id"]) == ("queued", 2, message["_id"])
    assert (message["state"], message["key"]) == ("pending", str(file))
    assert message["fields"] == {"file_id": str(file), "reparse": "true", "folder_id": "f"}


def test_many_in_one_call_and_each_once(outbox: Cli, shelf: Shelf) -> None:
    files = [shelf.put_file("error: x"), shelf.put_file("queued")]
    result = outbox("enqueue", *files, files[0])
    assert result.code == 0
    assert result.out.count("is queued as message") == 2
    assert shelf.db.outbox.count_documents({}) == 2


def test_unknown_ids_are_named_and_nothing_is_done(outbox: Cli, shelf: Shelf) -> None:
    file, unknown = shelf.put_file("parsed"), [ObjectId(), ObjectId()]
    result = outbox("enqueue", file, *unknown)
    assert result.code == 1
    for id_ in unknown:
        assert str(id_) in result.err
    assert str(file) not in result.err
    assert shelf.db.outbox.count_documents({}) == 0
    assert shelf.db.files.count_documents({"parsing": "parsed"}) == 1


def test_a_file_that_is_not_complete_is_refused(outbox: Cli, shelf: Shelf) -> None:
    result = outbox("enqueue", shelf.put_file("uploading"))
    assert result.code == 1
    assert "still uploading" in result.err


def test_what_is_no_id_is_a_usage_error(cli: Cli) -> None:
    assert cli("enqueue", "zz").code == 2
    assert cli("enqueue").code == 2


def test_a_priority(outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shelf.put_file("parsed")
    refused = outbox("enqueue", file, "--priority", "high")
    assert refused.code == 2
    assert 'add "priorities": ["high"]' in refused.err
    monkeypatch.setenv(
        "OUTBOX_STREAMS",
        '[{"name": "file_parsing_queue", "group": "file_parsers", "subject": {}, "priorities": ["high"]}]',
    )
    assert outbox("init").code == 0
    assert outbox("enqueue", file, "--priority", "high").code == 0
    assert [message["stream"] for message in shelf.db.outbox.find()] == ["file_parsing_queue:high"]
