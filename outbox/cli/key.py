"""`outbox key`: make keys to the API."""

from __future__ import annotations

from typing import Annotated

import typer

from outbox.cli.output import write_json, write_line, write_note
from outbox.web import keys
from outbox.web.keys import Scope

app = typer.Typer(no_args_is_help=True, help="Make keys to the API and the dashboard.")


@app.callback()
def key() -> None:
    """Make keys to the API and the dashboard.

    Example: outbox key new --name grafana --scope read
    """


@app.command()
def new(
    name: Annotated[str, typer.Option(help="Whose it is: it stands in logs and in the audit.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; may be given several times.")],
    json: Annotated[bool, typer.Option("--json", help="Write JSON: the key and its line.")] = False,
) -> None:
    """Make a key, show it this once, and show the line for OUTBOX_API_KEYS, which holds only its hash.

    `upload` may upload and reparse, `read` may look at everything, `operate` may retry, discard, replay and pause. To
    replace a key, put the new line beside the old one, hand the new key out, and then take the old line away; each
    time, start the API again.

    Examples:

        outbox key new --name shop --scope upload

        outbox key new --name alice --scope read --scope operate
    """
    secret, made = keys.make(name, scope)
    if json:
        write_json({"key": secret, "line": made.line})
        return
    write_line(secret)
    write_note("This is the key. It is shown this once: hand it to its holder, for Authorization: Bearer.")
    write_note("For the API, in its environment or .env, with a space after the keys that are there already:")
    write_note(f"OUTBOX_API_KEYS='{made.line}'")
