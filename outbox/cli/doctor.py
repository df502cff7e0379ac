"""`outbox doctor`: before going live, what to change in settings, servers and rights."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from outbox.cli.failures import Unfinished
from outbox.cli.output import checking, write_json, write_line
from outbox.cli.servers import Servers, run
from outbox.errors import Unreachable
from outbox.operations import docs
from outbox.operations.doctor import CHECKS, UNREACHABLE, Finding, Level, Program, Surroundings, examine
from outbox.settings import OutboxSettings

_TITLES = {Level.DANGER: "DANGER ", Level.WARNING: "WARNING", Level.ADVICE: "ADVICE "}


def doctor(
    program: Annotated[
        Program, typer.Option("--program", help="Whose user the settings name: its rights are looked at.")
    ] = "relay",
    json: Annotated[bool, typer.Option("--json", help="Write JSON: the findings, the most dangerous first.")] = False,
) -> None:
    """Look at what surrounds the outbox, and say in order of danger what to change, and how.

    Settings, servers, rights, versions, eviction, persistence, oplog, clocks, TLS, read preference and write concern,
    indexes, declarations, subjects. Run it before going live and after each change, with the settings of the program
    that you are about to start. Nothing is changed. `outbox verify` looks at the data instead.

    A danger may break a promise of the outbox, or keep it from working; a warning makes an outage likelier or worse.
    Exit code 0: nothing endangers a promise; 1: something does; 3: a server cannot be reached.

    Examples:

        outbox doctor

        outbox doctor --program worker --json
    """

    async def command(servers: Servers) -> tuple[list[Finding], OutboxSettings]:
        at = Surroundings(
            servers.settings, servers.mongo, servers.database, servers.redis, servers.streams, program
        )  # fmt: skip
        with checking(len(CHECKS)) as progress:
            return await examine(at, progress=progress), servers.settings

    findings, settings = run(command, registers=True)
    dangers = [finding for finding in findings if finding.level is Level.DANGER]
    if json:
        write_json({"ok": not dangers, "checks": len(CHECKS), "findings": [one.as_json() for one in findings]})
    else:
        _show(findings)
    if away := [finding for finding in findings if finding.check == UNREACHABLE]:
        mongo = away[0].what.startswith("MongoDB")
        address = settings.mongodb_address if mongo else settings.redis_address
        raise Unreachable("MongoDB" if mongo else "Redis", address, "what needs it was not looked at")
    if dangers:
        raise Unfinished(f"{len(dangers)} of what was found endangers a promise: change that before going live")


def _show(findings: list[Finding]) -> None:
    for finding in findings:
        write_line(f"{_TITLES[finding.level]}  {finding.what}  [{finding.check}]")
        write_line(f"    {finding.means}")
        write_line(f"    read about it: {docs.section(finding.check, docs.GOING_LIVE)}")
        write_line(f"    change it: {finding.mend}")
        write_line("")
    if not findings:
        write_line(f"{len(CHECKS)} checks, and there is nothing to change")
        return
    counted = Counter(finding.level for finding in findings)
    told = ", ".join(f"{counted[level]} {level.value}{'s' * (counted[level] > 1)}" for level in Level if counted[level])
    write_line(f"{len(CHECKS)} checks: {told.replace('advices', 'advice')}")
