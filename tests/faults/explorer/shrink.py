"""A finding, shrunk to the fewest actions that still show it, and printed as a test."""

from __future__ import annotations

import shutil
import time
from collections.abc import Awaitable, Callable, Sequence

from tests.faults.explorer.run import Exploration, Step, explore
from tests.faults.explorer.servers import Members

Still = Callable[[Sequence[Step]], Awaitable[bool]]

TRIES = 3
"""How often all of a finding is run again, at most, until it shows: a seed does not give the moments at which processes
meet."""


async def shrunk(
    found: Exploration, members: Members, seconds: float, tell: Callable[[str], None]
) -> list[Step] | None:
    """The fewest actions found in `seconds` that break the same promise; None: not even all of them did so again."""
    assert found.violation
    promise = _promise(found.violation)
    deadline = time.monotonic() + seconds

    async def still(steps: Sequence[Step]) -> bool:
        again = await explore(found.seed, members, given=steps)
        if again.evidence:
            shutil.rmtree(again.evidence)
        shows = again.violation is not None and _promise(again.violation) == promise
        tell(f"{len(steps)} actions: {'it shows' if shows else 'nothing'}")
        return shows

    for _ in range(TRIES):
        if time.monotonic() < deadline and await still(found.steps):
            return await fewest(found.steps, still, lambda: time.monotonic() < deadline)
    return None


async def fewest(steps: Sequence[Step], still: Still, goes_on: Callable[[], bool]) -> list[Step]:
    """Delta debugging: leave out ever smaller parts of `steps`, as long as it shows without them and `goes_on`."""
    left, parts = list(steps), 2
    while left and goes_on():
        size = max(1, -(-len(left) // parts))
        for start in range(0, len(left), size):
            rest = left[:start] + left[start + size :]
            if not goes_on():
                return left
            if await still(rest):
                left, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                return left
            parts = min(len(left), 2 * parts)
    return left


def as_a_test(found: Exploration, steps: Sequence[Step]) -> str:
    """To be pasted into a module of tests/faults; it may have to be run several times."""
    assert found.violation
    members = "Three" if "three mongods" in found.servers else "One"
    stepping = ", clocks=True" if "clock" in found.servers else ""
    given = "\n".join(f"        {step!r}," for step in steps)
    return f'''from tests.faults.explorer.run import explore
from tests.faults.explorer.servers import {members}


async def test_seed_{found.seed}(tmp_path: Path) -> None:
    """{_line(found.violation)}"""
    members = {members}(tmp_path{stepping})
    given = [
{given}
    ]
    with members.servers():
        result = await explore({found.seed}, members, given=given)
    assert not result.violation, "\\n".join(result.story)
'''


def _promise(violation: str) -> str:
    """Its first word, such as G1, which says which promise was broken."""
    return violation.lstrip("['\"").partition(" ")[0].rstrip(":")


def _line(violation: str) -> str:
    return " ".join(violation.split())[:200].replace("\\", "").replace('"', "'")
