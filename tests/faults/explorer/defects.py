"""What no process may do, whatever happens to the servers."""

from __future__ import annotations

from collections.abc import Sequence, Set

from tests.faults.explorer.work import Work
from tests.faults.relays import RelayProcess

DEFECT = "failed unexpectedly"
"""In the log: of an error that stands for no outage, and for nothing that anybody has done wrong."""


def check_processes(relays: Sequence[RelayProcess], work: Work, down: Set[RelayProcess]) -> None:
    """No relay has ended but those `down` on purpose, nor any worker, and none has met with a defect of its own.

    AssertionError otherwise.
    """
    for process in [*relays, *work.workers]:
        if defect := next((line for line in process.output().splitlines() if DEFECT in line), None):
            raise AssertionError(f"{process.name} logs a defect: {defect}")
    if work.fallen:
        raise AssertionError(work.fallen[0])
    for relay in relays:
        if not relay.running and relay not in down:
            raise AssertionError(f"{relay.name} has ended by itself: {relay.output(last_lines=30)}")
