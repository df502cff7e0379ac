"""Mending: what findings can repair is repaired and put on record, and looked at again where some of it may be left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from outbox.errors import OutboxError
from outbox.operations import audit
from outbox.operations.verify import NOTHING_MORE, by_check, look
from outbox.operations.verify.findings import KEPT, Finding, System


@dataclass(frozen=True, slots=True)
class Result:
    """`repaired`: how many, or why not; None: nothing was tried. `left`: there is still something to do."""

    finding: Finding
    repaired: int | str | None = None
    left: bool = True


async def mend(system: System, *, who: str, progress: Callable[[str, int], None] = lambda *_: None) -> list[Result]:
    """Look at everything and repair what can be repaired. Raises as `verify` does."""
    results = await _repair(system, await by_check(system, progress=progress), who)
    if any(one.finding.check in NOTHING_MORE for one in results) and not any(one.left for one in results):
        # Without what is repaired now, the other checks were not made.
        results += await _repair(system, await by_check(system, progress=progress), who)
    return results


async def _repair(system: System, found: Mapping[str, list[Finding]], who: str) -> list[Result]:
    results = []
    for title, findings in found.items():
        done = [(finding, await _repair_one(system, finding, who)) for finding in findings]
        again = await look(system, title) if any(_is_short(*one) for one in done) else []
        still = {finding.check for finding in again}
        for finding, repaired in done:
            left = finding.check in still if _is_short(finding, repaired) else not isinstance(repaired, int)
            results.append(Result(finding, repaired, left))
        results += [Result(finding) for finding in again if finding.check not in {one.check for one in findings}]
    return results


def _is_short(finding: Finding, repaired: int | str | None) -> bool:
    """Whether there may be more than was repaired. No finding keeps more than so many in mind."""
    return isinstance(repaired, int) and (repaired < finding.count or finding.count >= KEPT)


async def _repair_one(system: System, finding: Finding, who: str) -> int | str | None:
    if finding.repair is None:
        return None
    try:
        count = await finding.repair()
    except OutboxError as error:  # it is not as it was when it was found
        return str(error)
    told = {"check": finding.check, "found": finding.count, "examples": list(finding.examples)}
    await audit.record(system.database, who=who, action="repair", count=count, details=told)
    return count
