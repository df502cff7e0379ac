"""`outbox audit`: what operators did."""

from __future__ import annotations

from typing import Annotated

import typer
from bson import ObjectId

from outbox.cli.output import write_json, write_more, write_table
from outbox.cli.servers import Servers, run
from outbox.errors import UsageError
from outbox.message import schema
from outbox.operations import audit as auditing
from outbox.operations import moments

PER_PAGE = 50


def _read_id(text: str) -> ObjectId:
    if not ObjectId.is_valid(text):
        raise UsageError(f"{text!r:.60} is not the id of a record: one has 24 hexadecimal digits")
    return ObjectId(text)


def audit(
    who: Annotated[str | None, typer.Option(help="Only what this one did: user@host, or an API key's name.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this: retry, discard, replay, enqueue, …")] = None,
    limit: Annotated[int, typer.Option(min=1, max=auditing.MAX_PAGE, help="At most so many.")] = PER_PAGE,
    before: Annotated[
        ObjectId | None, typer.Option(parser=_read_id, metavar="ID", help="Go on after this record.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show what operators did, by command or HTTP, the newest first: when, who, what, of how many.

    Kept for 400 days. What the relay does by itself is in its log and in `outbox status`, and not here.

    Examples:

        outbox audit

        outbox audit --action replay --json
    """

    async def command(servers: Servers) -> auditing.Page:
        await schema.check(servers.database, servers.streams)
        return await auditing.page(servers.database, who=who, action=action, before=before, limit=limit)

    page = run(command)
    if json:
        records = [record.as_json() for record in page.records]
        write_json({"records": records, "before": str(page.before) if page.before else None})
        return
    write_table(
        "Audit",
        ["when", "who", "action", "count", "details"],
        [[moments.show(r.at), r.who, r.action, r.count, _told(r)] for r in page.records],
    )
    if page.before:
        write_more("audit", page.before, who=who, action=action, limit=limit if limit != PER_PAGE else None)


def _told(record: auditing.Record) -> str:
    return ", ".join(f"{name}: {value}" for name, value in record.as_json()["details"].items() if value is not None)
