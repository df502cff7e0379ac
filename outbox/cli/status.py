"""`outbox status`: what waits, where, since when."""

from __future__ import annotations

from time import sleep
from typing import Annotated

import typer
from rich.console import Console

from outbox.cli.output import write_json, write_line, write_table
from outbox.cli.servers import Servers, Slow, run
from outbox.errors import Unreachable, UsageError
from outbox.message import schema
from outbox.message.document import State
from outbox.operations import counts, moments, stats
from outbox.operations.stats import Status
from outbox.operations.workers import Worker
from outbox.servers.waiting import stop_if_cancelled

WATCH_SECONDS = 2.0


def status(
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew every 2 seconds, until Ctrl-C.")] = False,
) -> None:
    """Show messages by state, streams, partitions with their owners, and relays.

    Needs MongoDB only: while Redis is away, its numbers are not known, and all else is shown. With --watch, an outage
    of MongoDB is shown, too, until it is over.

    Messages are counted up to a million in each state, and for two seconds: "1,000,000 or more". `bounds` says so in
    JSON.

    Undelivered entries have been given to no worker yet; unacknowledged ones were given to a worker that has not said
    that it is done.

    Examples:

        outbox status

        outbox status --json | jq .oldest_pending_seconds
    """
    if json and watch:
        raise UsageError("--json and --watch cannot be had together")
    while True:
        try:
            now, not_understood = run(_collect, looks=True)
        except (Unreachable, Slow) as error:
            if not watch:
                raise
            Console().clear()
            write_line(f"! {error}. Asked again every {WATCH_SECONDS:g} seconds, until Ctrl-C.")
            sleep(WATCH_SECONDS)
            continue
        if watch:
            Console().clear()
        if json:
            write_json({**now.as_json(), "not_understood": not_understood})
        else:
            _show(now)
            for fault in not_understood:
                write_line(f"! {fault}")
        if not watch:
            return
        sleep(WATCH_SECONDS)


async def _collect(servers: Servers) -> tuple[Status, tuple[str, ...]]:
    await schema.check(servers.database, servers.streams)
    collected = await stats.collect(servers.database, servers.redis, servers.streams)
    stop_if_cancelled()  # else Ctrl-C may not end --watch
    return collected, servers.not_understood


def _show(now: Status) -> None:
    write_table(
        "Messages",
        [*(state.value for state in State), "oldest pending"],
        [[*(_number(now, state) for state in State), moments.show_seconds(now.oldest_pending_seconds)]],
    )
    write_table(
        "Streams",
        ["stream", "length", "undelivered", "unacknowledged"],
        [[name, d.length, d.undelivered, d.unacknowledged] for name, d in now.queue.streams.items()],
    )
    write_table(
        "Partitions",
        ["stream", "number", "owner", "lease", "token", "batch"],
        [
            [p["stream"], p["number"], p["owner"], _lease(p["expires_in_seconds"]), p["token"], p["batch"]]
            for p in now.partitions
        ],
    )
    write_table("Relays", ["relay"], [[relay["id"]] for relay in now.relays])
    if now.workers:
        write_table(
            "Workers",
            ["worker", "streams", "in flight", "longest", "message", "seen"],
            [_worker(worker) for worker in now.workers],
        )
    if now.recoveries:
        write_table(
            "Recoveries: what Redis lost",
            ["when", "partition", "verdict", "pending again", "settled", "survived"],
            [[moments.show(r.at), r.partition, r.verdict, r.recovered, r.settled, r.kept] for r in now.recoveries],
        )
    if now.paused:
        write_table(
            "Paused",
            ["stream", "since", "by", "reason"],
            [[one.stream, moments.show(one.at), one.who, one.reason] for one in now.paused],
        )
    for warning in _warnings(now):
        write_line(f"! {warning}")


def _number(now: Status, state: State) -> str:
    return counts.shown(now.messages[state], now.bounds.get(state))


def _worker(worker: Worker) -> list[object]:
    longest = worker.holds[0] if worker.holds else None
    return [
        worker.name, ", ".join(worker.streams), f"{worker.in_flight} of {worker.concurrency}",
        moments.show_seconds(longest.seconds) if longest else None, longest.message if longest else None,
        f"silent for {moments.show_seconds(worker.silent_seconds)}" if worker.silent else "now",
    ]  # fmt: skip


def _lease(seconds: float | None) -> str:
    if seconds is None:
        return "free"
    return moments.show_seconds(seconds) if seconds > 0 else "expired"


def _warnings(now: Status) -> list[str]:
    warnings = []
    if now.queue.cause:
        warnings.append(f"{now.queue.cause} Messages wait in MongoDB until then.")
    warnings += [f"{one}. {one.do} Messages wait in MongoDB until then." for one in now.obstacles]
    warnings += [str(worker) for worker in now.workers if worker.is_stuck]
    warnings += [str(pause) for pause in now.paused]
    warnings += now.queue.warnings
    warnings += [f"{holding}. To free it: {holding.command}" for holding in now.queue.held]
    if not now.relays:
        warnings.append("No relay is running, so nothing is published. Start one: outbox relay")
    if now.messages[State.DEAD]:
        warnings.append(f"{_number(now, State.DEAD)} dead. See why: outbox dead list")
    return warnings
