"""Whether somebody reads what stands in the streams."""

from __future__ import annotations

from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from outbox.delivery import held, trim
from outbox.delivery.depth import lag_of
from outbox.delivery.entries import MARK, not_there
from outbox.delivery.held import Holding
from outbox.operations.verify.findings import Finding, System, not_checked
from outbox.printable import printable, shell_word
from outbox.streams import pauses
from outbox.streams.declaration import Stream

CLAIMED = 10_000
"""Entries that one command is to move, at most: Redis does nothing else meanwhile."""


async def groups(system: System) -> list[Finding]:
    findings = []
    paused = await pauses.read(system.database)
    for stream in system.streams.values():
        if paused.of(stream):
            continue  # nobody is to read it now
        redis: Any = system.redis
        try:
            found = await redis.xinfo_groups(stream.key)
        except ResponseError as error:
            if not not_there(error):  # refused, or a part of a cluster is away: nothing is known then
                raise
            continue  # nothing was ever published
        if stream.group not in {group["name"] for group in found}:
            findings.append(
                Finding(
                    "group-missing", f"{stream.name} has no group {stream.group}",
                    "its workers are refused. A relay creates it at the stream's beginning, so that they miss nothing",
                    "outbox relay, unless one is running", examples=(stream.name,),
                )
            )  # fmt: skip
        for group in found:
            findings += await _group(system, stream, group)
        findings += await _stragglers(system, stream, {one for finding in findings for one in finding.examples})
        named = {one for finding in findings for one in finding.examples}
        holdings = await held.collect(redis, stream)
        findings += [_held(holding) for holding in holdings if printable(holding.consumer) not in named]
    return findings


def _held(holding: Holding) -> Finding:
    return Finding(
        "held-entries", str(holding),
        "its consumer failed, or was started again, and reads only what is new. A relay publishes what the stream's "
        "own group holds once more after rescue_seconds, if the stream has any; what another group holds stays",
        holding.command, count=holding.entries,
        examples=(printable(f"{holding.group} {holding.consumer} {holding.first}"),),
    )  # fmt: skip


async def _stragglers(system: System, stream: Stream, named: set[str]) -> list[Finding]:
    """Groups that hold up the trimming, although they have no consumer, or are silent for less long than others may."""
    try:
        found = await trim.stragglers(system.redis, stream) if stream.trim else ()
    except NoPermissionError as error:  # whoever asks may not run scripts, and all else can be looked at
        return [not_checked(f"groups that hold up the trimming of {stream.name}", error)]
    findings = []
    for one in found:
        name = printable(one.group)
        if one.abandoned and not one.ignored and f"{stream.name} {name}" not in named:
            findings.append(
                Finding(
                    "idle-group", f"group {name} has done nothing with {stream.name} for {one.silent_seconds:.0f} s",
                    "entries that it has not acknowledged cannot be trimmed: if nobody needs it any more, they fill "
                    "Redis",
                    f"redis-cli XGROUP DESTROY {stream.key} {shell_word(one.group)}",
                    examples=(f"{stream.name} {name}",),
                )
            )  # fmt: skip
    return findings


async def _group(system: System, stream: Stream, group: dict[str, Any]) -> list[Finding]:
    redis: Any = system.redis
    consumers = [each for each in await redis.xinfo_consumers(stream.key, group["name"]) if each["name"] != MARK]
    limit = system.idle.total_seconds() * 1000
    name, hours = printable(group["name"]), system.idle.total_seconds() / 3600
    behind = group["pending"] or lag_of(group) or lag_of(group) is None
    awake = min((consumer["idle"] for consumer in consumers), default=None)
    if behind and awake is not None and awake > limit:
        ours = group["name"] == stream.group
        return [
            Finding(
                "idle-group", f"group {name} has done nothing with {stream.name} for {hours:g} hours",
                "its workers are away, and entries wait for them" if ours else
                "entries that it has not acknowledged cannot be trimmed: if nobody needs it any more, they fill Redis",
                "start its workers" if ours else f"redis-cli XGROUP DESTROY {stream.key} {shell_word(group['name'])}",
                examples=(f"{stream.name} {name}",),
            )
        ]  # fmt: skip
    stuck = [consumer for consumer in consumers if consumer["pending"] and consumer["idle"] > limit]
    return [
        Finding(
            "idle-consumer",
            f"consumer {printable(consumer['name'])} of {name} has {consumer['pending']} entries of {stream.name} in "
            f"flight, and has done nothing for {hours:g} hours",
            "it died with them, or is still working on one. A relay rescues them after the stream's rescue_seconds",
            _claim(stream, group, int(limit)),
            count=consumer["pending"], examples=(printable(consumer["name"]),),
        )
        for consumer in stuck
    ]  # fmt: skip


def _claim(stream: Stream, group: dict[str, Any], idle: int) -> str:
    """Moves all that was idle for so long. Without COUNT, Redis moves 100 entries."""
    count = min(group["pending"], CLAIMED)
    command = f"redis-cli XAUTOCLAIM {stream.key} {shell_word(group['name'])} ANOTHER {idle} 0 COUNT {count}"
    more = ", and again with the id that it answers first in place of 0, until that is 0-0"
    return command + (more if group["pending"] > count else "")
