"""`outbox verify`: look for what is not as it should be, and mend what can be mended."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from outbox.cli.failures import Unfinished
from outbox.cli.output import checking, write_json, write_line
from outbox.cli.servers import Servers, run
from outbox.errors import OutboxError
from outbox.operations import audit, docs, moments
from outbox.operations import verify as verifying
from outbox.operations.verify import CHECKS, System
from outbox.operations.verify.mending import Result, Results, mend
from outbox.servers.clock import server_time

PAUSE_SECONDS = 2.0


async def _pause() -> None:
    await asyncio.sleep(PAUSE_SECONDS)


def _span(text: str) -> timedelta:
    now = datetime.now(UTC)
    return now - moments.read_at(text, now)


def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Mend what cannot be made worse by it.")] = False,
    pending: Annotated[
        timedelta, typer.Option(parser=_span, metavar="TIME", help="How long a message may be pending.")
    ] = "5m",  # type: ignore[assignment]  # parsed, as if it had been typed
    idle: Annotated[
        timedelta, typer.Option(parser=_span, metavar="TIME", help="How long a group or consumer may be silent.")
    ] = "1d",  # type: ignore[assignment]
    grace: Annotated[
        timedelta, typer.Option(parser=_span, metavar="TIME", help="What changed within it is not judged.")
    ] = "30s",  # type: ignore[assignment]
    redis_backup: Annotated[
        timedelta | None,
        typer.Option(parser=_span, metavar="TIME", help="How old a backup of Redis you would restore."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON: the findings, and what was repaired.")] = False,
) -> None:
    """Look through the whole system, while it runs, for what is not as it should be.

    Every finding says what it means and the command that mends it. Looking changes nothing, takes flat memory and
    reads what waits, not what is done. Exit code 0: nothing found, or all of it repaired; 1: found.

    Examples:

        outbox verify

        outbox verify --redis-backup 3d --json

        outbox verify --repair
    """

    results: Results = {}

    async def command(servers: Servers) -> None:
        system = System(
            servers.database, servers.redis, servers.streams, await server_time(servers.database),
            timedelta(days=servers.settings.outbox_retention_days), grace, pending, idle, redis_backup, _pause,
        )  # fmt: skip
        with checking(len(CHECKS)) as progress:
            if repair:
                await mend(system, results, who=audit.me(), progress=progress)
            else:
                found = await verifying.by_check(system, progress=progress)
                results.update({title: list(map(Result, findings)) for title, findings in found.items()})

    try:
        run(command, looks=True)
    except OutboxError:
        if any(results.values()):  # a server has gone away since: what is repaired is repaired
            _write(results, json)
        raise
    left = len({one.finding.check for of_check in results.values() for one in of_check if one.left})
    _write(results, json)
    if left:
        raise Unfinished(f"{left} of {len(CHECKS)} checks found something")


def _write(results: Results, json: bool) -> None:
    every = [one for of_check in results.values() for one in of_check]
    if json:
        found = [one.finding.as_json() | {"repaired": one.repaired, "left": one.left} for one in every]
        write_json({"findings": found})
    else:
        _show(every)


def _show(results: list[Result]) -> None:
    for one in results:
        finding = one.finding
        write_line(f"! {finding.what}  [{finding.check}]")
        write_line(f"    {finding.means}")
        if finding.count > 1 and finding.examples:
            write_line(f"    such as {', '.join(finding.examples[:3])}")
        match one.repaired:
            case int(count):
                write_line(f"    repaired: {count}{', and a second look still finds it' if one.left else ''}")
            case str(reason):
                write_line(f"    not repaired: {reason}")
            case None if not one.left:
                write_line("    it is no longer so: another repair has dealt with it")
        if one.left and not isinstance(one.repaired, str):
            write_line(f"    read about it: {docs.section(finding.check)}")
            write_line(f"    mend it: {finding.mend}" + ("  (or --repair)" if finding.repair else ""))
        write_line("")
    if not results:
        write_line(f"{len(CHECKS)} checks, and everything is as it should be")
