"""`outbox dead`: look at dead messages, retry or discard them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Protocol

import typer
from bson import ObjectId

from outbox.cli.failures import Unfinished
from outbox.cli.output import (
    confirm,
    progress_bar,
    require_answerable,
    write_json,
    write_line,
    write_more,
    write_note,
    write_table,
)
from outbox.cli.servers import Servers, run
from outbox.database import Database
from outbox.errors import CommitUnknown, UsageError
from outbox.message import schema
from outbox.message.document import State
from outbox.operations import dead, messages, moments
from outbox.servers.clock import server_time
from outbox.servers.waiting import stop_if_cancelled
from outbox.streams.declaration import Streams

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    help="Look at dead messages, retry or discard them.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Ids = Annotated[
    list[ObjectId] | None,
    typer.Argument(parser=messages.read_id, metavar="ID…", help="Message ids.", show_default=False),
]
OfStream = Annotated[str | None, typer.Option("--stream", help="Only of this stream.")]
All = Annotated[bool, typer.Option("--all", help="All that are dead by now, or those of --stream.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
PER_PAGE = 50
KEPT = 1000
"""Errors that are shown, at most: many thousands of messages may fail for one reason."""


class Action(Protocol):
    async def __call__(
        self, database: Database, streams: Streams, message: ObjectId, *, before: datetime | None
    ) -> None: ...


@app.command("list")
def list_(
    stream: OfStream = None,
    limit: Annotated[int, typer.Option(min=1, max=messages.MAX_PAGE, help="At most so many.")] = PER_PAGE,
    before: Annotated[
        ObjectId | None, typer.Option(parser=messages.read_id, metavar="ID", help="Go on after this message.")
    ] = None,
    json: Json = False,
) -> None:
    """List dead messages, the newest first, each with the reason.

    Examples:

        outbox dead list

        outbox dead list --stream file_parsing_queue --json
    """

    async def command(servers: Servers) -> messages.Page:
        await _refuse_unknown(servers, stream)
        return await messages.list_page(servers.database, state=State.DEAD, stream=stream, before=before, limit=limit)

    page = run(command)
    if json:
        write_json(
            {
                "messages": [messages.plain(m) for m in page.messages],
                "before": str(page.before) if page.before else None,
            }
        )
        return
    write_table(
        "Dead messages",
        ["id", "stream", "key", "attempts", "since", "reason"],
        [
            [m["_id"], m.get("stream"), m.get("key"), m.get("attempts"), _time(m.get("died_at")), m.get("last_error")]
            for m in page.messages
        ],
    )
    if page.before:
        write_more("dead list", page.before, stream=stream, limit=limit if limit != PER_PAGE else None)


@app.command()
def show(
    id_: Annotated[ObjectId, typer.Argument(parser=messages.read_id, metavar="ID", help="A message id.")],
    json: Json = False,
) -> None:
    """Show one message with all that is known of it, whatever its state.

    Example: outbox dead show 65a1f0c2e4b0a1b2c3d4e5f6
    """

    async def command(servers: Servers) -> dict[str, Any]:
        return messages.plain(await messages.find(servers.database, id_))

    message = run(command)
    if json:
        write_json(message)
        return
    for name, value in message.items():
        if isinstance(value, dict):
            write_line(f"{name}:")
            for inner, text in value.items():
                write_line(f"  {inner}: {text}")
        else:
            write_line(f"{name}: {'-' if value is None else value}")


@app.command()
def retry(ids: Ids = None, all_: All = False, stream: OfStream = None, json: Json = False) -> None:
    """Make dead messages pending again. A file that ended in an error is queued again with its message.

    `attempt` goes on counting. A message that still cannot be sent will be dead again.

    Examples:

        outbox dead retry 65a1f0c2e4b0a1b2c3d4e5f6

        outbox dead retry --all --stream file_parsing_queue
    """
    _each(dead.retry, "retried", ids, all_, stream, json=json)


@app.command()
def discard(ids: Ids = None, all_: All = False, stream: OfStream = None, yes: Yes = False, json: Json = False) -> None:
    """Delete dead messages for good. A file that waits for one of them ends as `error: discarded by an operator`.

    Examples:

        outbox dead discard 65a1f0c2e4b0a1b2c3d4e5f6

        outbox dead discard --all --stream file_parsing_queue --yes
    """
    _each(dead.discard, "discarded", ids, all_, stream, json=json, ask="Delete {} for good?", yes=yes)


def _each(
    action: Action,
    done_word: str,
    ids: list[ObjectId] | None,
    all_: bool,
    stream: str | None,
    *,
    json: bool,
    ask: str | None = None,
    yes: bool = True,
) -> None:
    """Do `action` with each message. What fails for one does not stop the rest, and is reported at the end."""
    if all_ == bool(ids):
        raise UsageError("name the messages by their ids, or give --all (perhaps with --stream), not both")
    if stream and not all_:
        raise UsageError("--stream goes with --all")
    require_answerable(yes=yes)

    async def command(servers: Servers) -> tuple[int, int, dict[str, str]]:
        await schema.check(servers.database, servers.streams)
        await _refuse_unknown(servers, stream)
        chosen = list(dict.fromkeys(ids or ()))
        # What was counted, and agreed to, is what is done: not also what dies while somebody thinks.
        before = await server_time(servers.database) if all_ else None
        count = await dead.count(servers.database, stream=stream, before=before) if all_ else len(chosen)
        if ask and count:
            confirm(ask.format("1 dead message" if count == 1 else f"{count} dead messages"), yes=yes)
        targets = dead.ids(servers.database, stream=stream, before=before) if all_ else _iterate(chosen)
        return await _act(action, servers, targets, count, before)

    done, failed, errors = run(command)
    more = failed - len(errors)
    if json:
        listed = [{"id": id_, "error": error} for id_, error in errors.items()]
        write_json({done_word: done, "failed": listed, **({"more_failed": more} if more else {})})
    else:
        write_line(f"{done} {done_word}")
    for error in errors.values():
        write_note(error)
    if more:
        write_note(f"and {more} others")
    if failed:
        raise Unfinished(f"{failed} of {done + failed} messages were not {done_word}")


async def _refuse_unknown(servers: Servers, stream: str | None) -> None:
    """Raise UndeclaredStream for a name that was mistyped: not registered, and not that of any dead message either."""
    if stream is None or stream in servers.streams or await dead.count(servers.database, stream=stream):
        return
    _ = servers.streams[stream]


async def _act(
    action: Action, servers: Servers, targets: AsyncIterator[ObjectId], count: int, before: datetime | None
) -> tuple[int, int, dict[str, str]]:
    """How many were done and how many failed, and of the first `KEPT` of these the errors."""
    done, failed = 0, 0
    errors: dict[str, str] = {}
    with progress_bar("messages", count) as advance:
        async for message in targets:
            stop_if_cancelled()
            try:
                await action(servers.database, servers.streams, message, before=before)
                done += 1
            except (UsageError, CommitUnknown) as error:
                failed += 1
                if len(errors) < KEPT:
                    errors[str(message)] = str(error)
            advance(done + failed)
    return done, failed, errors


async def _iterate(ids: list[ObjectId]) -> AsyncIterator[ObjectId]:
    for id_ in ids:
        yield id_


def _time(value: object) -> object:
    return moments.show(value) if isinstance(value, datetime) else value
