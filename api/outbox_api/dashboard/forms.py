"""What operators type into forms, read with errors that tell what to type instead."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from bson import ObjectId

from outbox.errors import UsageError
from outbox.message.document import State
from outbox.message.transitions import REPLAYABLE
from outbox.operations import moments
from outbox.operations.messages import read_id
from outbox.operations.search import Wanted
from outbox.operations.selection import Selection
from outbox.servers.clock import as_text
from outbox.streams.declaration import Streams

MAX_TEXT = 512
SELECTING = ("since", "until", "stream", "state", "key", "ids")
"""The fields of a replay."""

Fields = Mapping[str, str]
"""What was typed, by the names of the fields."""


def wanted(fields: Fields) -> Wanted:
    """What to search for. Raises UsageError."""
    text = fields.get("q", "").strip()
    if len(text) > MAX_TEXT:
        raise UsageError(f"search for {MAX_TEXT} characters at most")
    before = fields.get("before", "")
    return Wanted(
        text, _state(fields.get("state", "")), _moment("since", fields), _moment("until", fields),
        read_id(before) if before else None,
    )  # fmt: skip


def selection(fields: Fields, streams: Streams) -> Selection | None:
    """What to replay; None when nothing was typed. Raises UsageError."""
    if not any(fields.get(name, "").strip() for name in SELECTING):
        return None
    stream = fields.get("stream", "").strip() or None
    if stream:
        _ = streams[stream]
    state = _state(fields.get("state", ""))
    return Selection(
        since=_moment("since", fields),
        until=_moment("until", fields),
        stream=stream,
        key=fields.get("key", "").strip() or None,
        states=(state,) if state else REPLAYABLE,
        ids=tuple(_ids(fields.get("ids", ""))),
    )


def fixed(fields: Fields, selected: Selection) -> Fields:
    """The same fields for the form that replays what was counted: "2h" is another moment when it is sent."""
    times = {"since": selected.since, "until": selected.until}
    return {name: fields.get(name, "") for name in SELECTING} | {
        name: as_text(time) for name, time in times.items() if time
    }


def seen(fields: Fields) -> datetime | None:
    """Up to when the page knew the message on which a button was pressed. Raises UsageError."""
    return _moment("seen", fields)


def moment(text: str) -> datetime:
    """A moment as it stands in a hidden field. Raises UsageError."""
    return moments.read(text)


def _moment(name: str, fields: Fields) -> datetime | None:
    text = fields.get(name, "").strip()
    return moment(text) if text else None


def _state(text: str) -> State | None:
    try:
        return State(text) if text else None
    except ValueError:
        raise UsageError(f"{text!r:.40} is not a state; there are {', '.join(State)}") from None


def _ids(text: str) -> list[ObjectId]:
    return [read_id(word) for word in dict.fromkeys(text.replace(",", " ").split())]
