"""A replay that an outage ends halfway is a job all the same: whoever asked for it must not ask again."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from outbox.errors import CommitUnknown
from outbox.message.document import State
from outbox.operations import jobs
from outbox.operations.jobs import Pace
from tests.cli.conftest import Cli, Shelf


@pytest.mark.parametrize("also", [(), ("set_aside",), ("set_aside", "find")])
def test_an_outage_halfway_names_the_job_and_who_goes_on_with_it(
    also: tuple[str, ...], outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(State.PUBLISHED, 4)
    monkeypatch.setattr(Pace, "page", 2)
    step, steps = jobs.step, 0

    async def fails_over(*arguments: Any, **options: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 2:
            raise AutoReconnect("gone")
        return await step(*arguments, **options)

    async def gone(*_: Any, **__: Any) -> None:
        raise AutoReconnect("gone")

    monkeypatch.setattr(jobs, "step", fails_over)
    for name in also:
        monkeypatch.setattr(jobs, name, gone)
    result = outbox("replay", "--since", "2h", "--yes", "--json")
    [job] = shelf.db.outbox_jobs.find()
    assert (result.code, result.out, job["open"], job["replayed"]) == (3, "", True, 2)
    assert f"it is job {job['_id']}, and a relay goes on with it" in result.err
    assert "Do not ask for it again" in result.err


def test_after_a_commit_of_unknown_outcome_it_says_where_to_look(
    outbox: Cli, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(State.PUBLISHED)

    async def unknown(*_: Any, **__: Any) -> None:
        raise CommitUnknown("the reply to a commit was lost")

    monkeypatch.setattr(jobs, "create", unknown)
    result = outbox("replay", "--since", "2h", "--yes")
    assert result.code == 1
    assert "`outbox audit`" in result.err
    assert "`outbox jobs list`" in result.err
    assert "repeat only what is not there" in result.err
    assert "run the same command again" not in result.err
