"""The properties of a stream that is declared in code: each of its type and within its limits, as in OUTBOX_STREAMS.

What is wrong is refused where it stands. Once it were registered, no program could read the registry.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from outbox.errors import SettingsError
from outbox.streams.limits import STREAM
from outbox.streams.priorities import Priority
from outbox.streams.retry import Retry
from outbox.streams.subject import Subject

if TYPE_CHECKING:
    from outbox.streams.declaration import Stream

_NAME = re.compile(r"[A-Za-z0-9_.:/-]*(\{[A-Za-z0-9_.:/-]+\})?[A-Za-z0-9_.:/-]*")


def check(stream: Stream) -> None:
    """Raise SettingsError, which names the stream and the property. Names become plain text, lists become tuples."""
    name = stream.name
    if not isinstance(name, str) or not name or not _NAME.fullmatch(name):
        raise SettingsError(f"stream name {name!r}: use letters, digits and _ . : / - with at most one {{hash tag}}")
    where = f"stream {str.__str__(name)!r}"
    if not isinstance(stream.group, str) or not stream.group:
        raise SettingsError(f"{where}: name the consumer group that reads it, not {stream.group!r:.40}")
    if not isinstance(stream.prefix, str):
        raise SettingsError(f"{where}: prefix must be text, not {stream.prefix!r:.40}")
    groups = [_plain_group(where, group) for group in _several(where, "groups", stream.groups)]
    if len({str.__str__(stream.group), *groups}) <= len(groups):
        raise SettingsError(f"{where}: a group is named twice")
    _set(stream, name=str.__str__(name), group=str.__str__(stream.group), prefix=str.__str__(stream.prefix))
    _set(stream, groups=tuple(groups), priorities=_priorities(where, stream.priorities))
    _check_kinds(where, stream)
    for property_, limit in STREAM.items():
        value = getattr(stream, property_)
        if value is not None or property_ != "ignore_groups_after_seconds":  # which may wait for ever
            limit.check(where, property_, value)
    if stream.shards > 1 and "{" in name:
        raise SettingsError(f"{where}: a hash tag keeps all shards on one node: name it without")
    if groups and stream.subject:
        raise SettingsError(
            f"{where}: with several groups it can have no subject, as the first group to settle it would do so for "
            "all; declare it without"
        )


def _check_kinds(where: str, stream: Stream) -> None:
    if not isinstance(stream.retry, Retry):
        raise SettingsError(f"{where}: retry must be a Retry, such as Retry(attempts=8), not {stream.retry!r:.40}")
    if stream.subject is not None and not isinstance(stream.subject, Subject):
        raise SettingsError(
            f'{where}: subject must be a Subject, such as Subject("orders", "status"), not {stream.subject!r:.40}'
        )
    for name, value in (("trim", stream.trim), ("gone_is_done", stream.gone_is_done)):
        if not isinstance(value, bool):
            raise SettingsError(f"{where}: {name} must be True or False, not {value!r:.40}")


def _several(where: str, name: str, value: object) -> list[Any]:
    if not isinstance(value, list | tuple):  # a text is one, too: of its letters
        raise SettingsError(f'{where}: {name} must be a tuple, such as {name}=("{_LIKE[name]}",), not {value!r:.40}')
    return list(value)


_LIKE = {"groups": "audit", "priorities": "high"}


def _plain_group(where: str, group: object) -> str:
    if not isinstance(group, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", group):
        raise SettingsError(f"{where}: group {group!r:.40}: use letters, digits and _ . -")
    return str.__str__(group)


def _priorities(where: str, value: object) -> tuple[Priority, ...]:
    given = _several(where, "priorities", value)
    if not all(priority in ("high", "low") for priority in given) or len(set(given)) < len(given):
        raise SettingsError(
            f"{where}: priorities is {value!r:.60}; it is of normal priority, and others can be high and low, once each"
        )
    return tuple(Priority(priority) for priority in given)


def _set(stream: Stream, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(stream, name, value)  # it is frozen for everybody else
