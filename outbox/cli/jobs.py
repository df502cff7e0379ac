"""`outbox jobs`: look at replays that were asked for, watch or cancel them."""

from __future__ import annotations

from typing import Annotated

import typer
from bson import ObjectId

from outbox.cli.output import write_json, write_line, write_table
from outbox.cli.servers import Servers, run
from outbox.cli.working import watch
from outbox.errors import UsageError
from outbox.message import schema
from outbox.operations import audit, jobs, moments
from outbox.operations.jobs import Job

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    help="Look at replays that were asked for, watch or cancel them.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _read_id(text: str) -> ObjectId:
    if not ObjectId.is_valid(text):
        raise UsageError(f"{text!r:.60} is not the id of a job: one has 24 hexadecimal digits")
    return ObjectId(text)


Id = Annotated[ObjectId, typer.Argument(parser=_read_id, metavar="JOB", help="The id of a job.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 20,
    json: Json = False,
) -> None:
    """List jobs, the newest first: who asked for what, and how far it is.

    Example: outbox jobs list --json
    """

    async def command(servers: Servers) -> list[Job]:
        await schema.check(servers.database, servers.streams)
        return await jobs.latest(servers.database, limit)

    found = run(command)
    if json:
        write_json({"jobs": [job.as_json() for job in found]})
        return
    write_table(
        "Replays",
        ["id", "asked", "by", "phase", "selected", "replayed", "of"],
        [[j.id, moments.show(j.created_at), j.who, j.phase.value, j.selected, j.replayed, _what(j)] for j in found],
    )


@app.command()
def show(
    id_: Id,
    follow: Annotated[bool, typer.Option("--watch", "-w", help="Until it is over, with a bar on a terminal.")] = False,
    json: Json = False,
) -> None:
    """Show one job.

    Example: outbox jobs show 65a1f0c2e4b0a1b2c3d4e5f6 --watch
    """

    async def command(servers: Servers) -> Job:
        return await (watch if follow else jobs.find)(servers.database, id_)

    _show(run(command), json=json)


@app.command()
def cancel(id_: Id, json: Json = False) -> None:
    """Stop a job after the current page. What it has replayed until then stays so.

    Example: outbox jobs cancel 65a1f0c2e4b0a1b2c3d4e5f6
    """

    async def command(servers: Servers) -> Job:
        return await jobs.cancel(servers.database, id_, who=audit.me())

    _show(run(command), json=json)


def _show(job: Job, *, json: bool) -> None:
    if json:
        write_json(job.as_json())
        return
    selected = "an unknown number" if job.selected is None else job.selected
    write_line(f"job {job.id}: {job.phase.value}, selected {selected}, replayed {job.replayed}")
    if job.failure and job.open:
        write_line(f"failed at the last try, and is tried again: {job.failure}")
    if job.left_out:
        write_line(f"left out as too large to be changed: {job.left_out}; outbox audit has their ids")
    write_line(
        f"asked for by {job.who} at {moments.show(job.created_at)}: {_what(job)}; {job.rate:g} messages a second"
    )


def _what(job: Job) -> str:
    told = job.as_json()["selection"]
    ids, count = told.pop("ids", []), told.pop("ids_count", None)
    words = [f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in told.items()]
    return ", ".join(words + ([f"{count or len(ids)} ids"] if ids else []))
