from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from outbox.cli.working import work_on
from outbox.database import Database
from outbox.message.document import State
from outbox.operations import jobs, replay
from outbox.operations.jobs import Job
from tests.cli.conftest import Cli, Shelf
from tests.giants import filled_up
from tests.outbox.shelf import a_document

LONG_AGO = datetime.now(UTC) - timedelta(days=3)


def test_a_dry_run_counts_and_changes_nothing(outbox: Cli, shelf: Shelf) -> None:
    ids = shelf.put(State.PUBLISHED, 2) + shelf.put(State.PUBLISHED, at=LONG_AGO)
    result = outbox("replay", "--since", "2h", "--dry-run")
    assert result.code == 0
    assert result.out.startswith("2 messages would be replayed, appended since ")
    assert outbox("replay", "--since", "2h", "--dry-run", "--json").json == {
        "selected": 2, "replayed": 0, "left_out": 0, "dry_run": True,
    }  # fmt: skip
    assert set(shelf.states(*ids)) == {"published"}


def test_it_reports_what_was_selected_and_replayed(outbox: Cli, shelf: Shelf) -> None:
    ids = shelf.put(State.PUBLISHED, 2)
    result = outbox("replay", "--since", "2h", "--yes", "--json")
    told = result.json
    assert told.pop("job")
    assert told == {"selected": 2, "replayed": 2, "left_out": 0, "dry_run": False, "phase": "done"}
    assert shelf.states(*ids) == ["pending", "pending"]
    assert outbox("replay", "--since", "2h", "--yes").out == "selected 0, replayed 0\n"  # they are still pending


def test_more_than_are_counted_are_replayed_and_then_counted(
    outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "COUNTED", 1, raising=False)
    shelf.put(State.PUBLISHED, 2)
    counted = outbox("replay", "--since", "2h", "--dry-run")
    assert counted.out.startswith("an unknown number of messages (more than 1, ")
    assert outbox("replay", "--since", "2h", "--dry-run", "--json").json["selected"] is None
    left = outbox("replay", "--since", "2h", "--yes", "--detach").out
    job = left.split()[-1]
    assert left.startswith("selected an unknown number; the relays replay them as job ")
    assert "waiting, selected an unknown number, replayed 0" in outbox("jobs", "show", job).out
    assert outbox("jobs", "list").code == outbox("audit").code == 0
    assert outbox("replay", "--since", "2h", "--yes").out == "selected 2, replayed 2\n"


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


def test_it_is_a_job_that_is_on_record(outbox: Cli, shelf: Shelf) -> None:
    shelf.put(State.PUBLISHED, 2)
    job = outbox("replay", "--since", "2h", "--yes", "--json").json["job"]
    shown = outbox("jobs", "show", job, "--json").json
    assert (shown["phase"], shown["selected"], shown["replayed"]) == ("done", 2, 2)
    assert [each["id"] for each in outbox("jobs", "list", "--json").json["jobs"]] == [job]
    assert "selected 2, replayed 2" in outbox("jobs", "show", job, "--watch").out
    records = outbox("audit", "--json").json["records"]
    assert [(r["action"], r["count"], r["details"]["job"]) for r in records] == [
        ("replay done", 2, job), ("replay", 2, job),
    ]  # fmt: skip
    assert records[0]["who"] == shown["who"]
    assert "@" in shown["who"]


def test_the_same_request_twice_does_not_replay_twice(outbox: Cli, shelf: Shelf) -> None:
    ids = shelf.put(State.PUBLISHED, 3)
    first = outbox("replay", "--since", "2h", "--yes", "--request", "incident-1", "--json").json
    shelf.db.outbox.update_many({}, {"$set": {"state": "published"}, "$currentDate": {"published_at": True}})
    again = outbox("replay", "--since", "2h", "--yes", "--request", "incident-1", "--json")
    assert again.json == first
    assert "was asked for before" in again.err
    assert shelf.states(*ids) == ["published"] * 3


def test_what_is_left_to_the_relays_waits_and_can_be_cancelled(outbox: Cli, shelf: Shelf) -> None:
    ids = shelf.put(State.PUBLISHED, 3)
    result = outbox("replay", "--since", "2h", "--yes", "--detach", "--rate", 7)
    assert "the relays replay them as job" in result.out
    [job] = outbox("jobs", "list", "--json").json["jobs"]
    assert (job["phase"], job["rate"]) == ("waiting", 7)
    assert "waiting" in outbox("jobs", "list").out
    assert outbox("jobs", "cancel", job["id"]).code == 0
    assert outbox("jobs", "cancel", job["id"]).code == 1
    assert shelf.states(*ids) == ["published"] * 3
    assert [r["action"] for r in outbox("audit", "--json").json["records"]] == ["cancel replay", "replay"]


def test_a_job_that_was_interrupted_is_gone_on_with(outbox: Cli, shelf: Shelf) -> None:
    shelf.put(State.PUBLISHED, 3)
    outbox("replay", "--since", "2h", "--yes", "--detach", "--request", "r")
    assert outbox("replay", "--since", "2h", "--yes", "--request", "r", "--json").json["phase"] == "done"


def test_the_messages_of_a_file(outbox: Cli, shelf: Shelf) -> None:
    file = shelf.put_file("queued")
    shelf.put(State.PUBLISHED, key=str(file))
    shelf.put(State.PUBLISHED)
    assert outbox("replay", "--file", file, "--yes", "--json").json["replayed"] == 1


@pytest.mark.parametrize("command", [("jobs", "show"), ("jobs", "cancel")])
def test_jobs_that_are_not_there(command: tuple[str, str], outbox: Cli) -> None:
    assert outbox(*command, "65a1f0c2e4b0a1b2c3d4e5f6").code == 1
    assert outbox(*command, "zz").code == 2


def test_a_request_of_the_same_name_for_something_else_is_refused(outbox: Cli, shelf: Shelf) -> None:
    ids = shelf.put(State.PUBLISHED, 3)
    assert outbox("replay", "--id", ids[0], "--yes", "--request", "r").code == 0
    other = outbox("replay", "--id", ids[1], "--id", ids[2], "--yes", "--request", "r")
    assert (other.code, other.out) == (2, "")
    assert "asked for another replay" in other.err
    assert shelf.states(*ids) == ["pending", "published", "published"]


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (["--since", "2h"], ["--since", "3h"], 0),  # as the same is, an hour later
        (["--since", "2020-01-01"], ["--since", "2020-01-01"], 0),
        (["--since", "2020-01-01"], ["--since", "2020-01-02"], 2),
        (["--since", "2020-01-01"], ["--since", "2h"], 0),
        (["--since", "2h"], ["--since", "2h", "--until", "now"], 2),
        (["--since", "2h"], ["--until", "now"], 2),
    ],
)
def test_times_that_move_on_do_not_make_a_request_another_one(
    first: list[str], second: list[str], code: int, outbox: Cli, shelf: Shelf
) -> None:
    shelf.put(State.PUBLISHED)
    for asked, ends in ((first, 0), (second, code)):
        assert outbox("replay", *asked, "--yes", "--detach", "--request", "r").code == ends


def test_the_same_values_in_another_order_are_the_same_request(outbox: Cli, shelf: Shelf) -> None:
    first, second = shelf.put(State.PUBLISHED, 2)
    asked = ["--yes", "--detach", "--request", "r"]
    states = ["--state", "published", "--state", "completed"]
    assert outbox("replay", "--id", first, "--id", second, *states, *asked).code == 0
    again = outbox("replay", "--id", second, "--id", first, *states[2:], *states[:2], *asked)
    assert again.code == 0
    assert "was asked for before" in again.err


def test_one_that_somebody_cancels_is_not_done(outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = shelf.put(State.PUBLISHED, 3)

    async def cancelled(database: Database, job: Job) -> Job:
        await jobs.cancel(database, job.id, who="ben")
        return await work_on(database, job)

    monkeypatch.setattr("outbox.cli.replay.work_on", cancelled)
    result = outbox("replay", "--since", "2h", "--yes", "--json")
    assert result.code == 1
    assert (result.json["replayed"], result.json["phase"]) == (0, "cancelled")
    assert result.err.count("was cancelled") == 1
    assert shelf.states(*ids) == ["published"] * 3


def test_one_that_is_too_large_is_left_out_and_told(outbox: Cli, shelf: Shelf) -> None:
    shelf.put(State.COMPLETED, 4)
    giant = filled_up(a_document(State.COMPLETED))
    shelf.db.outbox.insert_one(giant, bypass_document_validation=True)
    result = outbox("replay", "--state", "completed", "--yes", "--json")
    assert result.code == 1
    told = result.json
    assert (told["selected"], told["replayed"], told["left_out"], told["phase"]) == (5, 4, 1, "done")
    assert "1 of 5 messages were left out" in result.err
    [record] = outbox("audit", "--action", "replay left out", "--json").json["records"]
    assert record["details"]["messages"] == [str(giant["_id"])]
    assert "left out as too large to be changed: 1" in outbox("jobs", "show", result.json["job"]).out
