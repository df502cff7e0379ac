from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from outbox.message import State
from tests.cli.conftest import Cli, Shelf

LONG_AGO = datetime.now(UTC) - timedelta(days=3)


def test_a_dry_run_counts_and_changes_nothing(outbox: Cli, shelf: Shelf) -> None:
    ids = shelf.put(State.PUBLISHED, 2) + shelf.put(State.PUBLISHED, at=LONG_AGO)
    result = outbox("replay", "--since", "2h", "--dry-run")
    assert result.code == 0
    assert result.out.startswith("2 messages would be replayed, appended since ")
    assert outbox("replay", "--since", "2h", "--dry-run", "--json").json == {
        "selected": 2, "replayed": 0, "dry_run": True,
    }  # fmt: skip
    assert set(shelf.states(*ids)) == {"published"}


def test_it_reports_what_was_selected_and_replayed(outbox: Cli, shelf: Shelf) -> None:
    ids = shelf.put(State.PUBLISHED, 2)
    result = outbox("replay", "--since", "2h", "--yes", "--json")
    assert result.json == {"selected": 2, "replayed": 2, "dry_run": False}
    assert shelf.states(*ids) == ["pending", "pending"]
    assert outbox("replay", "--since", "2h", "--yes").out == "selected 0, replayed 0\n"  # they are still pending


def test_it_asks_first(outbox: Cli, shelf: Shelf) -> None:
    ids = shelf.put(State.COMPLETED, 2)
    refused = outbox("replay", "--since", "2h", types="n\n")
    assert refused.code == 1
    assert "Replay 2 messages, appended since" in refused.err
    assert shelf.states(*ids) == ["completed", "completed"]
    assert outbox("replay", "--since", "2h", "--json", types="y\n").json["replayed"] == 2


def test_with_nobody_to_ask_it_does_nothing_and_says_how(outbox: Cli, shelf: Shelf) -> None:
    ids = shelf.put(State.PUBLISHED)
    result = outbox("replay", "--since", "2h")
    assert result.code == 2
    assert "--yes" in result.err
    assert shelf.states(*ids) == ["published"]


def test_options_narrow_and_can_be_repeated(outbox: Cli, shelf: Shelf) -> None:
    published = shelf.put(State.PUBLISHED, 3, key="a")
    completed = shelf.put(State.COMPLETED, 2, key="b")

    def selected(*options: object) -> int:
        return int(outbox("replay", *options, "--dry-run", "--json").json["selected"])

    assert selected("--key", "a") == 3
    assert selected("--state", "completed") == 2
    assert selected("--state", "completed", "--state", "published", "--key", "b") == 2
    assert selected("--id", published[0], "--id", completed[0]) == 2
    assert selected("--until", "2h") == 0
    assert selected("--stream", "file_parsing_queue", "--since", "2020-01-01", "--until", "now") == 5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "nothing is selected"),
        (["--since", "yesterday"], "not a time"),
        (["--id", "zz"], "not a message id"),
        (["--state", "dead", "--key", "a"], "only published and completed"),
        (["--state", "sent"], "sent"),
        (["--since", "1h", "--until", "2h"], "earlier than until"),
        (["--stream", "file_parsing_quene"], "did you mean 'file_parsing_queue'"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(options: list[str], told: str, outbox: Cli) -> None:
    result = outbox("replay", *options, "--yes")
    assert result.code == 2
    assert told in " ".join(result.err.split())
