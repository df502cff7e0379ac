"""The explorer itself: one seed of it, and what it says when a promise is broken."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.explorer import world as worlds
from tests.faults.explorer.actions import WITHOUT_WORKERS
from tests.faults.explorer.actions.action import Action
from tests.faults.explorer.log import read, summary, write
from tests.faults.explorer.run import Exploration, Step, explore
from tests.faults.explorer.servers import One
from tests.faults.explorer.shrink import as_a_test, fewest
from tests.faults.explorer.world import World
from tests.faults.scenario import STREAM


@pytest.mark.slow
async def test_one_seed(tmp_path: Path, dice: random.Random) -> None:
    """Others by `python -m tests.faults.explorer`."""
    members = One(tmp_path)
    with members.servers():
        result = await explore(
            dice.randrange(10**6), members, steps=15, actions=WITHOUT_WORKERS, workers=False, redis="alone"
        )
    assert not result.violation, "\n".join([*result.story, f"data and logs: {result.evidence}"])


@pytest.mark.slow
async def test_one_seed_with_workers(tmp_path: Path, dice: random.Random) -> None:
    members = One(tmp_path)
    with members.servers():
        result = await explore(dice.randrange(10**6), members, steps=15)
    assert not result.violation, "\n".join([*result.story, f"data and logs: {result.evidence}"])


@pytest.mark.slow
async def test_what_is_lost_behind_everybodys_back_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def delete_an_entry(world: World, dice: random.Random) -> str:
        await world.append("a")
        await world.comes_to_rest()
        [(first, _), *_] = await world.stream()
        await world.do("XDEL", STREAM, first)
        monkeypatch.setattr(worlds, "REST_SECONDS", 3)
        return first

    members = One(tmp_path)
    with members.servers():
        actions = [Action("delete an entry", 1, delete_an_entry, True)]
        result = await explore(1, members, steps=1, actions=actions, workers=False, redis="alone")
    assert result.violation
    assert "G1" in result.violation
    assert any("delete an entry" in line for line in result.story)
    assert result.evidence
    assert "Appended" in (result.evidence / "story.txt").read_text()
    write(tmp_path / "log", result)
    assert "delete an entry 1" in summary(read(tmp_path / "log"))
    shutil.rmtree(result.evidence)


async def test_a_finding_is_shrunk_to_the_fewest_actions_and_printed_as_a_test() -> None:
    steps: list[Step] = [("act", number) for number in range(40)]
    needed = {steps[3], steps[17], steps[18]}

    async def still(left: Sequence[Step]) -> bool:
        return needed <= set(left)

    found = await fewest(steps, still, lambda: True)
    assert found == sorted(needed)
    exploration = Exploration(7, "three mongods", "", steps=found, violation='G1: "m1" is\n lost')
    text = as_a_test(exploration, found)
    compile(text, "pasted", "exec")
    assert "('act', 17)," in text


async def test_nothing_is_left_of_a_finding_that_no_action_causes() -> None:
    async def still(left: Sequence[Step]) -> bool:
        return True

    assert await fewest([("act", number) for number in range(5)], still, lambda: True) == []
