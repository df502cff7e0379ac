"""`outbox replay --id`: what is named and not replayed is said; and `--request`: what is asked for again."""

from __future__ import annotations

import pytest
from bson import ObjectId

from outbox.message.document import State
from tests.cli.conftest import Cli, Shelf


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_ids_that_are_not_selected_are_named_with_their_state(
    dry_run: tuple[str, ...], outbox: Cli, shelf: Shelf
) -> None:
    unknown = ObjectId()
    [published], [dead], [pending] = (shelf.put(state) for state in (State.PUBLISHED, State.DEAD, State.PENDING))
    ids = [part for id_ in (published, dead, pending, unknown) for part in ("--id", id_)]
    shown = outbox("replay", *ids, "--yes", "--json", *dry_run)
    assert shown.code == 1
    assert (shown.json["selected"], shown.json["replayed"]) == (1, 0 if dry_run else 1)
    assert shown.json["not_selected"] == [
        {"id": str(dead), "state": "dead"}, {"id": str(pending), "state": "pending"},
        {"id": str(unknown), "state": None},
    ]  # fmt: skip
    assert f"message {dead} is dead, and not selected: outbox dead retry {dead}" in shown.err
    assert f"message {pending} is pending, and not selected" in shown.err
    assert f"there is no message {unknown}" in shown.err
    assert "3 of 4 ids were not selected" in shown.err


def test_one_that_the_other_options_leave_out_is_named_as_well(outbox: Cli, shelf: Shelf) -> None:
    [published], [completed] = shelf.put(State.PUBLISHED), shelf.put(State.COMPLETED)
    shown = outbox("replay", "--id", published, "--id", completed, "--since", "1m", "--state", "published", "--yes")
    assert (shown.code, shown.out) == (1, "selected 0, replayed 0\n")
    assert f"message {published} is published, and does not match the rest" in shown.err
    assert f"message {completed} is completed, and not selected" in shown.err


def test_of_many_ids_the_first_are_shown(outbox: Cli) -> None:
    shown = outbox("replay", *(part for _ in range(23) for part in ("--id", ObjectId())), "--yes")
    assert shown.code == 1
    assert shown.err.count("there is no message") == 20
    assert "and 3 others are not selected" in shown.err


def test_ids_that_are_all_selected_are_done(outbox: Cli, shelf: Shelf) -> None:
    first, second = shelf.put(State.PUBLISHED, 2)
    shown = outbox("replay", "--id", first, "--id", second, "--id", first, "--yes", "--json")
    assert (shown.code, shown.json["replayed"], "not_selected" in shown.json) == (0, 2, False)


def test_another_rate_for_a_job_at_work_is_refused(outbox: Cli, shelf: Shelf) -> None:
    shelf.put(State.PUBLISHED, 3)
    asked = ("replay", "--since", "2h", "--yes", "--request", "r", "--json")
    job = outbox(*asked, "--detach", "--rate", 200).json["job"]
    slower = outbox(*asked, "--rate", 5)
    assert (slower.code, slower.out) == (2, "")
    assert f"is job {job}, at 200 messages a second, which cannot be changed" in " ".join(slower.err.split())
    assert outbox(*asked, "--detach", "--rate", 200).code == 0
    assert outbox(*asked).json["phase"] == "done"
    assert outbox(*asked, "--rate", 5).json["job"] == job  # over: there is nothing to slow down
