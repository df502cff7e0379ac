"""The outbox itself: whether it is set up, and as its programs declare it; whose streams it uses; its limits."""

from __future__ import annotations

from outbox.errors import SchemaError
from outbox.message import meta, subject_check
from outbox.message.subjects import by_declaration
from outbox.operations.doctor.findings import Finding, Level, Surroundings, verified
from outbox.operations.verify import setup
from outbox.streams import agreement, registry

_streams = verified(Level.DANGER, setup.streams)


async def schema_version(at: Surroundings) -> list[Finding]:
    known = await meta.known(at.database)
    if known.identity is None or known.schema == meta.VERSION:
        return []
    older = known.schema < meta.VERSION
    return [
        Finding(
            "schema-version", Level.WARNING,
            f"the database has version {known.schema} of the schema, and this program knows {meta.VERSION}",
            "programs one version apart work side by side, for as long as an upgrade takes",
            "outbox init, with this version" if older else "install the version that the database was set up with",
        )
    ]  # fmt: skip


async def declarations(at: Surroundings) -> list[Finding]:
    try:
        registered = await registry.read(at.database)
    except SchemaError as error:
        return [_declaration(str(error), "install the version that registered it, or remove it by hand")]
    if registered is None:
        return []  # the database is not set up, which is a finding of its own
    declared = at.settings.streams
    explicit = at.settings.declares
    faults = agreement.differences(declared, registered) if explicit else []
    faults += agreement.other_prefix(declared, registered, explicit=explicit)
    findings = [
        _declaration(fault, "correct OUTBOX_STREAMS, or what is registered: outbox streams --help") for fault in faults
    ]
    if explicit and not faults:
        findings += [
            Finding(
                "declared-otherwise", Level.ADVICE, line,
                "the registered value is used, by all programs",
                "outbox init with the declaration that is right, and take the other one out of OUTBOX_STREAMS",
            )
            for line in _overruled(at, registered)
        ]  # fmt: skip
    return findings


def _declaration(what: str, mend: str) -> Finding:
    means = "relays, workers and APIs with these settings do not start: nothing is published or handled by them"
    return Finding("declaration", Level.DANGER, what, means, mend)


def _overruled(at: Surroundings, registered: registry.Registered) -> list[str]:
    families = registered.families()
    return [
        f"stream {stream.name!r}: {name} is declared as {here!r} and registered as {other!r}"
        for stream in at.settings.streams.declared()
        if stream.name in families
        for name, here, other in agreement.differing(agreement.dump(stream), agreement.dump(families[stream.name]))
        if name.partition(".")[0] in agreement.OPERATIONAL
    ]


async def owners(at: Surroundings) -> list[Finding]:
    try:
        return await _streams(at)
    except SchemaError:
        return []  # it has no identity yet, which the schema says


async def subjects(at: Surroundings) -> list[Finding]:
    findings = []
    for subject, streams in by_declaration(at.streams).items():
        lines = await subject_check.of(at.database, subject, streams)
        level = Level.WARNING if await subject_check.is_missing(at.database, subject) else Level.DANGER
        findings += [
            Finding(
                "subject", level, f"stream {streams[0].family}: {line}",
                "whether a message is still wanted cannot be seen: after a loss, all that is not completed comes "
                "again, what is done already included",
                "correct the subject in OUTBOX_STREAMS, run outbox init, and start relays and workers again",
            )
            for line in lines
        ]  # fmt: skip
    return findings


async def limits(at: Surroundings) -> list[Finding]:
    findings = []
    for stream in at.streams.declared():
        if not stream.max_undelivered:
            findings.append(
                Finding(
                    "stream-without-limit", Level.WARNING, f"stream {stream.name} takes any number of entries",
                    "while workers are away, the whole backlog goes into Redis's memory",
                    f"outbox init with \"max_undelivered\": 200000 for {stream.name} in OUTBOX_STREAMS",
                )
            )  # fmt: skip
        if not stream.trim:
            findings.append(
                Finding(
                    "stream-not-trimmed", Level.WARNING, f"entries of stream {stream.name} stay when they are done",
                    "Redis's memory grows for ever, unless another program trims the stream",
                    f"outbox init with \"trim\": true for {stream.name} in OUTBOX_STREAMS",
                )
            )  # fmt: skip
        if not stream.rescue_seconds:
            findings.append(
                Finding(
                    "stream-without-rescue", Level.WARNING, f"stream {stream.name} has no rescue_seconds",
                    "what a worker of another make took, and died with, stays there until somebody sees it",
                    f"outbox init with \"rescue_seconds\": 300 for {stream.name} in OUTBOX_STREAMS: longer than the "
                    "longest work of such workers",
                )
            )  # fmt: skip
    return findings


async def retention(at: Surroundings) -> list[Finding]:
    days = at.settings.outbox_retention_days
    if days >= 1:
        return []
    return [
        Finding(
            "retention", Level.WARNING, f"messages that are done are kept for {days * 24:g} hours",
            "they cannot be replayed after that, and if an older backup of Redis is restored, entries that other "
            "programs added are handled again. What is still wanted is always kept",
            "set OUTBOX_RETENTION_DAYS=7, or as many days as your oldest backup of Redis",
        )
    ]  # fmt: skip
