"""`outbox replay`: publish messages again that have been published already."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from bson import ObjectId

from outbox import replay as replaying
from outbox import schema
from outbox.cli import moments
from outbox.cli.output import confirm, progress_bar, require_answerable, write_json, write_line
from outbox.cli.servers import Servers, run
from outbox.clock import server_time
from outbox.message import State
from outbox.messages import read_id
from outbox.replay import REPLAYABLE, Replayed, Selection


def replay(
    since: Annotated[
        datetime | None, typer.Option(parser=moments.read, metavar="TIME", help="Appended at this time or later.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=moments.read, metavar="TIME", help="Appended before this time.")
    ] = None,
    stream: Annotated[str | None, typer.Option(help="Of this stream.")] = None,
    key: Annotated[str | None, typer.Option(help="Of this key, which for files is the file's id.")] = None,
    state: Annotated[
        list[State] | None,
        typer.Option(metavar="published|completed", help="In this state; both by default."),
    ] = None,
    id_: Annotated[
        list[ObjectId] | None,
        typer.Option("--id", parser=read_id, metavar="ID", help="This message; may be given many times."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON: selected and replayed.")] = False,
) -> None:
    """Publish messages once more, under the same message ids, with `attempt` one higher.

    For when workers lost or spoiled what they did. Selects published and completed messages that match all that is
    given; at least one option is needed. Dead ones are for `outbox dead retry`.

    A second identical call replays again whatever has been published since, the messages of the first call included.
    Those that are still pending are not selected, so nothing is queued twice.

    TIME is a moment or how long ago: 2h, 30m, 1d, 1d12h, now, 2026-01-31, 2026-01-31T14:00 (UTC unless it names its
    zone).

    Examples:

        outbox replay --since 2h --dry-run

        outbox replay --since 2026-01-31T14:00 --until 2026-01-31T15:30 --stream file_parsing_queue

        outbox replay --key 65a1f0c2e4b0a1b2c3d4e5f6 --yes
    """
    selection = Selection(since, until, stream, key, tuple(state or REPLAYABLE), tuple(id_ or ()))
    require_answerable(yes=yes or dry_run)

    async def command(servers: Servers) -> Replayed:
        await schema.check(servers.database, servers.streams)
        if stream:
            _ = servers.streams[stream]  # one that is not declared is a mistake, and has no relay
        # What was counted, and agreed to, is what is replayed: not what is published while somebody thinks.
        before = await server_time(servers.database)
        selected = await replaying.count(servers.database, selection, before=before)
        if dry_run or not selected:
            return Replayed(selected, 0)
        confirm(f"Replay {selected} messages{_range(selection)}?", yes=yes)
        with progress_bar("replaying", selected) as advance:
            return await replaying.replay(
                servers.database, selection, before=before, progress=lambda done: advance(done.selected)
            )

    done = run(command)
    if json:
        write_json(done.as_json() | {"dry_run": dry_run})
    elif dry_run:
        write_line(f"{done.selected} messages would be replayed{_range(selection)}")
    else:
        write_line(f"selected {done.selected}, replayed {done.replayed}")


def _range(selection: Selection) -> str:
    words = [
        *([f"since {moments.show(selection.since)}"] if selection.since else []),
        *([f"until {moments.show(selection.until)}"] if selection.until else []),
    ]
    return f", appended {' '.join(words)}" if words else ""
