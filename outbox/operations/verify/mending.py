"""Mending: what findings can repair is repaired and put on record, and looked at again where some of it may be left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from outbox.errors import OutboxError
from outbox.operations import audit
from outbox.operations.verify import NOTHING_MORE, by_check, look
from outbox.operations.verify.findings import KEPT, Finding, System, is_away
from outbox.servers import causes

_DEAD = ("no message is dead", "nobody waits for a dead message")
CHANGES: Mapping[str, tuple[str, ...]] = {
    "overdue": ("pending messages have a partition",),
    "stray": _DEAD,
    "dead-without-file": _DEAD,
    "message-without-file": _DEAD,
}
"""What is repaired, and the checks that find something else afterwards, or no longer find what they did."""


@dataclass(frozen=True, slots=True)
class Result:
    """`repaired`: how many, or why not; None: nothing was tried. `left`: there is still something to do."""

    finding: Finding
    repaired: int | str | None = None
    left: bool = True


Results = dict[str, list[Result]]
"""By the titles of the checks."""


async def mend(
    system: System, results: Results, *, who: str, progress: Callable[[str, int], None] = lambda *_: None
) -> None:
    """Look at everything and repair what can be repaired; what was found and done is added to `results`.

    Raises as `verify` does, when a server goes away: then `results` has what was found and done until then.
    """
    await _repair(system, results, await by_check(system, progress=progress), who)
    everything = [one for of_check in results.values() for one in of_check]
    if any(one.finding.check in NOTHING_MORE for one in everything) and not any(one.left for one in everything):
        # Without what is repaired now, the other checks were not made.
        await _repair(system, results, await by_check(system, progress=progress), who)


async def _repair(system: System, results: Results, found: Mapping[str, list[Finding]], who: str) -> None:
    for title, findings in found.items():
        results.setdefault(title, []).extend(map(Result, findings))
    changed: dict[str, None] = {}
    for title, findings in found.items():
        of_check = results[title]
        first = len(of_check) - len(findings)
        for at, finding in enumerate(findings, first):
            repaired = await _repair_one(system, finding, who)
            of_check[at] = Result(finding, repaired, not isinstance(repaired, int) or _is_short(finding, repaired))
            if isinstance(repaired, int):
                changed |= dict.fromkeys(CHANGES.get(finding.check, ()))
        if any(_is_short(one.finding, one.repaired) for one in of_check[first:]):
            again = await look(system, title)
            still = {finding.check for finding in again}
            of_check[first:] = [
                replace(one, left=one.finding.check in still) if _is_short(one.finding, one.repaired) else one
                for one in of_check[first:]
            ]
            of_check += [Result(each) for each in again if each.check not in {one.check for one in findings}]
    for title in changed:
        results[title] = _as_it_is_now(results[title], await look(system, title))


def _as_it_is_now(before: list[Result], again: list[Finding]) -> list[Result]:
    """Results of a check whose findings the repairs of others have changed."""
    now = {finding.check: finding for finding in again}
    then = {one.finding.check for one in before}
    return [
        *(Result(now.get(one.finding.check, one.finding), one.repaired, one.finding.check in now) for one in before),
        *(Result(finding) for finding in again if finding.check not in then),
    ]


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
    except (PyMongoError, RedisError) as error:  # which keeps nobody from the other repairs
        if is_away(system, error):
            raise
        return str(causes.explain(error))
    told = {"check": finding.check, "found": finding.count, "examples": list(finding.examples)}
    try:
        await audit.record(system.database, who=who, action="repair", count=count, details=told)
    except PyMongoError as error:
        if is_away(system, error):
            raise
        return f"{count} were repaired, which could not be put on record: {causes.explain(error)}"
    return count
