from __future__ import annotations

import pytest

from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--handler"),
        (["--handler", "nothing"], "write MODULE:FUNCTION"),
        (["--handler", "no_such:handle"], "there is no module 'no_such'"),
        (["--handler", "tests.worker.handlers:DATABASE"], "is not a function"),
        (["--handler", "tests.worker.handlers:effect", "--stream", "file_parsing_queu"], "file_parsing_queue"),
        (["--handler", "tests.worker.handlers:effect", "--concurrency", "0"], "concurrency"),
    ],
    ids=["none", "form", "module", "not a function", "stream", "concurrency"],
)
def test_what_is_wrong_is_told_before_anything_is_connected_to(
    arguments: list[str], told: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOX_STREAMS", '[{"name": "file_parsing_queue", "group": "file_parsers"}]')
    result = cli("worker", *arguments)
    assert result.code == 2
    assert told in result.err
