"""`outbox replay`: publish messages again that have been published already."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from bson import ObjectId

from outbox.cli.failures import Unfinished
from outbox.cli.finite import finite
from outbox.cli.output import confirm, require_answerable, write_json, write_line, write_note
from outbox.cli.servers import Servers, run
from outbox.cli.working import work_on
from outbox.errors import KeyTaken, UsageError
from outbox.message import schema
from outbox.message.document import State
from outbox.message.transitions import REPLAYABLE
from outbox.operations import audit, jobs, moments
from outbox.operations import replay as replaying
from outbox.operations.jobs import Job, Phase
from outbox.operations.messages import plain, read_id
from outbox.operations.selection import SHOWN_IDS, Selection
from outbox.servers.clock import server_time
from outbox.servers.waiting import stop_if_cancelled

OWNER = "command-line"
"""Whose the names of requests are: of all who use the command line, so that two of them replay the same once."""


def replay(
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Appended at this time or later.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Appended before this time.")] = None,
    stream: Annotated[str | None, typer.Option(help="Of this stream.")] = None,
    key: Annotated[str | None, typer.Option(help="Of this key.")] = None,
    file: Annotated[ObjectId | None, typer.Option(parser=read_id, metavar="FILE_ID", help="About this file.")] = None,
    state: Annotated[
        list[State] | None,
        typer.Option(metavar="published|completed", help="In this state; both by default."),
    ] = None,
    id_: Annotated[
        list[ObjectId] | None,
        typer.Option("--id", parser=read_id, metavar="ID", help="This message; may be given many times."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=jobs.MIN_RATE,
            max=jobs.MAX_RATE,
            callback=finite,
            help="Messages a second, at most; else OUTBOX_REPLAY_RATE.",
        ),
    ] = None,
    request: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Names this request: given again, it is the same replay."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Leave the work to the relays.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON: selected, replayed, and the job.")] = False,
) -> None:
    """Publish messages once more, under the same message ids, with `attempt` one higher.

    For when workers lost or spoiled what they did. Selects published and completed messages that match all that is
    given; at least one option is needed. Dead ones are for `outbox dead retry`.

    It is a job that is worked on here, without a relay. If this command is interrupted or fails, a relay goes on with
    it within half a minute: see `outbox jobs`. By one job, no message is replayed twice. More than a million messages,
    or what takes longer than three seconds to count, are replayed without being counted first.

    A second identical call is a second job, unless it has the same `--request`, and replays again whatever has been
    published since, the messages of the first call included. Those that are still pending are not selected, so nothing
    is queued twice. A message whose document is done already is sent once more all the same. But if Redis loses its
    data before it was handled, it is not published again: then ask for the replay once more.

    Of what is named by --id and not selected, it says why: exit code 1.

    TIME is a moment or how long ago: 2h, 30m, 1d, 1d12h, now, 2026-01-31, 2026-01-31T14:00 (UTC unless it names its
    zone).

    Examples:

        outbox replay --since 2h --dry-run

        outbox replay --since 2026-01-31T14:00 --until 2026-01-31T15:30 --stream file_parsing_queue

        outbox replay --file 65a1f0c2e4b0a1b2c3d4e5f6 --yes

        outbox replay --since 1d --rate 200 --request incident-4711 --detach
    """
    first, end = (moments.read(time) if time is not None else None for time in (since, until))
    selection = Selection(first, end, stream, key, tuple(state or REPLAYABLE), tuple(id_ or ()), file)
    moving = {name for name, time in (("since", since), ("until", until)) if time is not None and _moves(time)}
    require_answerable(yes=yes or dry_run)

    missing: dict[ObjectId, str | None] = {}

    async def command(servers: Servers) -> tuple[int | None, Job | None]:
        database = servers.database
        await schema.check(database, servers.streams)
        if stream:
            _ = servers.streams[stream]  # one that is not declared is a mistake, and has no relay
        # What was counted, and agreed to, is what is replayed: not what is published while somebody thinks.
        before = await server_time(database)
        job = await jobs.requested(database, request, owner=OWNER) if request and not dry_run else None
        if job:
            if _fixed(job.selection, moving) != _fixed(selection, moving):
                raise KeyTaken(f"request {request!r} asked for another replay, job {job.id}: choose a new name")
            if job.open and rate and rate != job.rate:
                raise UsageError(
                    f"request {request!r} is job {job.id}, at {job.rate:g} messages a second, which cannot be "
                    f"changed: leave out --rate to follow it, or stop it: outbox jobs cancel {job.id}"
                )
            write_note(f"this was asked for before, and is job {job.id}")
            await jobs.asked_again(database, job, audit.me())
        else:
            selected = await replaying.count(database, selection, before=before)
            if selection.ids:
                missing.update(await replaying.not_selected(database, selection, before=before))
                _note(missing, selection)
            if dry_run or selected == 0:
                return selected, None
            confirm(f"Replay {replaying.in_words(selected)}{_range(selection)}?", yes=yes)
            stop_if_cancelled()
            job = await jobs.create(
                database, selection, who=audit.me(), before=before, request=request, owner=OWNER,
                rate=rate or servers.settings.outbox_replay_rate, any_rate=rate is None,
            )  # fmt: skip
        if not detach:
            job = await work_on(database, job)
        return job.selected, job

    selected, job = run(command)
    replayed, left_out = (job.replayed, job.left_out) if job else (0, 0)
    shown = "an unknown number" if selected is None else selected
    if json:
        told: dict[str, Any] = {"selected": selected, "replayed": replayed, "left_out": left_out, "dry_run": dry_run}
        if missing:
            told["not_selected"] = [{"id": str(id_), "state": state} for id_, state in missing.items()]
        write_json(told | ({"job": str(job.id), "phase": job.phase.value} if job else {}))
    elif dry_run:
        write_line(f"{replaying.in_words(selected)} would be replayed{_range(selection)}")
    elif job and detach and job.open:
        write_line(f"selected {shown}; the relays replay them as job {job.id}: outbox jobs show {job.id}")
    else:
        write_line(f"selected {shown}, replayed {replayed}")
    if job and job.phase is Phase.CANCELLED:
        raise Unfinished(f"job {job.id} was cancelled; what was replayed until then stays so")
    if left_out:
        raise Unfinished(
            f"{left_out} of {selected} messages were left out: they are so large that they cannot be changed. "
            "Their ids: outbox audit --action 'replay left out'"
        )

    if missing:
        raise Unfinished(f"{len(missing)} of {len(set(selection.ids))} ids were not selected")


def _note(missing: dict[ObjectId, str | None], selection: Selection) -> None:
    """Of ids that were asked for and are not selected, why: of the first ones."""
    for id_, state in [*missing.items()][:SHOWN_IDS]:
        match state:
            case None:
                write_note(f"there is no message {id_}: it was pruned or discarded, or never committed")
            case State.DEAD:
                write_note(f"message {id_} is dead, and not selected: outbox dead retry {id_}")
            case _ if state in selection.states:
                write_note(f"message {id_} is {state}, and does not match the rest that is asked for")
            case _:
                write_note(f"message {id_} is {state}, and not selected")
    if len(missing) > SHOWN_IDS:
        write_note(f"and {len(missing) - SHOWN_IDS} others are not selected: --json has them all")


def _moves(time: str) -> bool:
    """Whether it says how long ago, and so means another moment when the same is typed again."""
    return moments.read_at(time, datetime(2000, 1, 1, tzinfo=UTC)) != moments.read_at(
        time, datetime(2001, 1, 1, tzinfo=UTC)
    )


def _fixed(selection: Selection, moving: set[str]) -> dict[str, Any]:
    """What is the same in a request that is typed again: of the times that move on, only that they were given, and of
    many values, which they are and not their order."""
    given = plain(selection.as_document()).items()
    return {name: name in moving or (sorted(set(v)) if isinstance(v, list) else v) for name, v in given}


def _range(selection: Selection) -> str:
    words = [
        *([f"since {moments.show(selection.since)}"] if selection.since else []),
        *([f"until {moments.show(selection.until)}"] if selection.until else []),
    ]
    return f", appended {' '.join(words)}" if words else ""
