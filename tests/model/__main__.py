"""`python -m tests.model`: explore, and say what was found. Exit code 1 if anything is not as it should be."""

from __future__ import annotations

import argparse
import resource
import sys

from .rules import Bounds, Rules
from .scenarios import DEEP, MUTATIONS, SCENARIOS
from .search import Found, search
from .telling import tell


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--deep", action="store_true", help="also the large scenarios: many minutes, many gigabytes")
    parser.add_argument("--without", metavar="NAME[,NAME]", help="tell the counterexample of one mutation")
    options = parser.parse_args()
    if options.without:
        return _story(tuple(options.without.split(",")))
    wrong = _scenarios(SCENARIOS | DEEP if options.deep else SCENARIOS) + _mutations()
    print("everything holds" if not wrong else f"{wrong} not as it should be")
    return 1 if wrong else 0


def _scenarios(scenarios: dict[str, Bounds]) -> int:
    wrong = worlds = 0
    seconds = 0.0
    print(f"{'scenario':45} {'worlds':>10} {'seconds':>8}  verdict")
    for title, bounds in scenarios.items():
        found = search(Rules(), bounds, limit=50_000_000)
        print(f"{title:45} {found.worlds:10,} {found.seconds:8.1f}  {found.broken or 'holds'}", flush=True)
        if found.broken:
            wrong += 1
            _print(found, Rules(), bounds)
        worlds, seconds = worlds + found.worlds, seconds + found.seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'all':45} {worlds:10,} {seconds:8.1f}  ({peak:,.0f} MB at most)\n")
    return wrong


def _mutations() -> int:
    wrong = 0
    print(f"{'without':20} {'worlds':>8} {'steps':>6}  breaks")
    for mutation in MUTATIONS:
        found = search(mutation.rules, mutation.bounds)
        title, steps = " and ".join(mutation.without), len(found.trace) - 1
        print(f"{title:20} {found.worlds:8,} {steps:6}  {found.broken or 'NOTHING'}", flush=True)
        wrong += not (found.broken or "").startswith(mutation.breaks)
    print()
    return wrong


def _story(without: tuple[str, ...]) -> int:
    for mutation in MUTATIONS:
        if set(mutation.without) == set(without):
            _print(search(mutation.rules, mutation.bounds), mutation.rules, mutation.bounds)
            return 0
    print("known:", " ".join(",".join(mutation.without) for mutation in MUTATIONS))
    return 2


def _print(found: Found, rules: Rules, bounds: Bounds) -> None:
    print("\n".join(tell(found, rules, bounds)))


if __name__ == "__main__":
    sys.exit(main())
