"""The offline judge: from a history, a dump of the outbox and a dump of the streams, which promises were broken.

It shares no code with the library or the relay, on purpose: a mistake in how they read a message would otherwise be
made here as well. It looks at what is there when everything has come to rest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.history import Appended, Forgotten, History, Lost, Poisoned, Replayed, Retried, RolledBack, Settled

Entries = Sequence[tuple[str, Mapping[str, str]]]
"""A stream from its first entry to its last: (entry id, fields)."""


def judge(history: History, outbox: Iterable[Mapping[str, Any]], streams: Mapping[str, Entries]) -> list[str]:
    """Every violation, readable, the promise first; an empty list is an acquittal.

    :param outbox: all documents of the outbox collection.
    :param streams: each stream by name.
    """
    evidence = Evidence.of(outbox, streams)
    accounts = _accounts(history)
    found: list[str] = [*evidence.flaws]
    for message, account in accounts.items():
        found += _judge_message(message, account, evidence)
    for message in sorted(evidence.entries.keys() - accounts.keys()):
        found.append(f"G2: {message} is in the stream, and no client appended it: {evidence.where(message)}")
    found += _judge_states(accounts, evidence)
    found += _judge_order(history, evidence)
    return found


@dataclass(frozen=True, slots=True)
class Entry:
    stream: str
    id: str
    place: int
    attempt: int


@dataclass(slots=True)
class Evidence:
    """The dumps, by message."""

    documents: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    entries: defaultdict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    flaws: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, outbox: Iterable[Mapping[str, Any]], streams: Mapping[str, Entries]) -> Evidence:
        evidence = cls({str(document["_id"]): document for document in outbox})
        for stream, entries in streams.items():
            evidence._read(stream, entries)
        return evidence

    def _read(self, stream: str, entries: Entries) -> None:
        before = (0, 0)
        for place, (id_, fields) in enumerate(entries):
            milliseconds, _, sequence = id_.partition("-")
            now = (int(milliseconds), int(sequence))
            if now <= before:
                self.flaws.append(f"stream {stream}: entry {id_} stands behind a later one")
            before = now
            if "message_id" not in fields:
                continue  # somebody else's
            attempt = fields.get("attempt", "")
            if not attempt.isdecimal():
                self.flaws.append(f"surface: entry {id_} of {stream} has no attempt: {dict(fields)}")
                continue
            self.entries[fields["message_id"]].append(Entry(stream, id_, place, int(attempt)))

    def where(self, message: str) -> str:
        return (
            ", ".join(f"{entry.id} (attempt {entry.attempt})" for entry in self.entries.get(message, ())) or "nowhere"
        )

    def state(self, message: str) -> str | None:
        document = self.documents.get(message)
        return None if document is None else str(document.get("state"))


@dataclass(slots=True)
class Account:
    """What should have become of one message, folded from the history."""

    committed: bool | None = True
    """None: unknown; then the outbox itself tells, since it is read with the majority."""
    poison: bool = False
    least: int = 1
    most: int = 1
    """How many entries of it there should be."""
    attempts: int = 1
    """The highest attempt that anything but waste can have reached."""
    asked: int = 1
    """The attempt that the last replay asked for: it comes, whichever earlier one Redis remembers after all."""
    survived: tuple[int, ...] = ()
    settled_when_lost: bool = False


def _accounts(history: History) -> dict[str, Account]:
    accounts: dict[str, Account] = {}
    keys: dict[str, str] = {}
    settled: set[str] = set()
    # Keys of which only MongoDB's memory tells that they were settled, and it may have none.
    unsure = history.queued_again() if any(isinstance(event, Forgotten) for event in history.events) else set[str]()
    for event in history.events:
        match event:
            case Appended():
                keys[event.message] = event.key
                accounts[event.message] = Account(committed=True if event.acknowledged else None)
            case RolledBack():
                accounts[event.message] = Account(committed=False, least=0, most=0)
            case Poisoned():
                accounts[event.message] = Account(poison=True, least=0, most=0)
            case Settled():
                # And stays so: that the key is wanted again by a newer message is that message's affair.
                settled.update(message for message, key in keys.items() if key == event.key)
            case Replayed():
                account = accounts[event.message]
                account.least += 1
                account.most += 1
                account.attempts += 1
                account.asked += 1
                account.settled_when_lost = False
            case Retried():
                accounts[event.message] = Account()
            case Lost():
                survivors: defaultdict[str, list[int]] = defaultdict(list)
                for message, attempt in event.survived:
                    survivors[message].append(attempt)
                there = None if event.before is None else {message for message, _ in event.before}
                for message, account in accounts.items():
                    if account.committed is not False and not account.poison:
                        published = None if there is None else message in there
                        _lose(account, tuple(survivors[message]), published, settled=message in settled)
                        if message in settled and keys[message] in unsure:
                            account.most += 1
    return accounts


def _lose(account: Account, survived: tuple[int, ...], published: bool | None, *, settled: bool) -> None:
    """Redis has less than it had: of this message just the attempts `survived`. `published`: it was there before."""
    account.attempts += 1
    account.survived = survived
    account.settled_when_lost = settled and not survived and published is not False
    if len(survived) >= account.most and max(survived, default=account.asked) >= account.asked:
        account.least = account.most = len(survived)
        return
    # However often it had been published: what is lost and wanted comes once more, whether it had been marked or not.
    wanted_least = 0 if settled and published is not False else 1
    wanted_most = 0 if settled and published else 1
    account.least, account.most = len(survived) + wanted_least, len(survived) + wanted_most


def _judge_message(message: str, account: Account, evidence: Evidence) -> Iterable[str]:
    entries = evidence.entries.get(message, [])
    where = evidence.where(message)
    if account.committed is False or (account.committed is None and message not in evidence.documents):
        if entries:
            yield f"G2: {message} was never committed, or rolled back, and is in the stream: {where}"
        if account.committed is False and message in evidence.documents:
            yield f"G2: {message} was rolled back, and is in the outbox as {evidence.state(message)}"
        return
    if message not in evidence.documents:
        yield f"G1: {message} was acknowledged, and is not in the outbox"
        return
    if account.poison:
        if entries:
            yield f"G1: {message} is poison, and is in the stream: {where}"
        if evidence.state(message) != "dead":
            yield f"G1: {message} is poison, and ended {evidence.state(message)} instead of dead"
        return
    if evidence.state(message) == "dead":
        return  # with a reason, or _judge_states tells
    if len(entries) < account.least:
        lost = f"; {len(account.survived)} survived the loss" if account.survived else ""
        yield f"G1: {message} should be in the stream {account.least} times, and is {len(entries)} times: {where}{lost}"
    yield from _judge_repeats(message, account, entries, where)
    yield from _judge_attempts(message, account, entries, evidence)


def _judge_repeats(message: str, account: Account, entries: Sequence[Entry], where: str) -> Iterable[str]:
    if len({entry.stream for entry in entries}) > 1:
        yield f"G4: {message} is in more than one stream: {where}"
    # Redis itself may bring back an entry that it had lost, when its message has been published again already.
    there = Counter(account.survived)
    counts = Counter(entry.attempt for entry in entries)
    twice = [attempt for attempt, count in counts.items() if count > max(1, there[attempt])]
    if twice:
        yield f"G4: {message} is in the stream twice under attempt {twice[0]}: {where}"
    if len(entries) <= account.most:
        return
    if account.survived:
        yield f"G5: {message} survived the loss, and was published again: {where}"
    elif account.settled_when_lost:
        yield f"G5: {message} was settled before it was lost, and was published again: {where}"
    else:
        yield f"G4: {message} should be in the stream {account.most} times, and is {len(entries)} times: {where}"


def _judge_attempts(message: str, account: Account, entries: Sequence[Entry], evidence: Evidence) -> Iterable[str]:
    attempts = [entry.attempt for entry in entries]
    if not attempts:
        return
    if attempts != sorted(attempts):
        yield f"attempts: {message} goes back: {evidence.where(message)}"
    if max(attempts) > account.attempts:
        yield (
            f"attempts: {message} has reached attempt {max(attempts)}, where {account.attempts} were called for: "
            "an outage has spent some"
        )
    if max(attempts) > len(attempts) and account.attempts == account.most:  # nothing was ever lost
        yield f"attempts: {message} leaves some out: {evidence.where(message)}"
    recorded = evidence.documents[message].get("attempts")
    if evidence.state(message) == "published" and isinstance(recorded, int) and recorded < max(attempts):
        yield f"attempts: {message} has attempt {max(attempts)} in the stream, and {recorded} recorded"


def _judge_states(accounts: Mapping[str, Account], evidence: Evidence) -> Iterable[str]:
    for message, document in evidence.documents.items():
        state = document.get("state")
        account = accounts.get(message)
        if account is None:
            yield f"G2: {message} is in the outbox, and no client appended it"
        if state == "dead" and not document.get("last_error"):
            yield f"G1: {message} is dead without a reason"
        if state == "dead" and account and not account.poison:
            yield f"G1: {message} was fit to be sent, and is dead: {document.get('last_error')}"
        if state in ("pending", "scheduled"):
            yield f"G1: {message} is still {state}"
        if state == "published" and not evidence.entries.get(message) and not (account and account.settled_when_lost):
            yield f"G1: {message} counts as published, and is not in the stream"


def _judge_order(history: History, evidence: Evidence) -> Iterable[str]:
    retried = {event.message for event in history.events if isinstance(event, Retried)}
    latest: dict[str, tuple[int, str]] = {}
    for event in history.appended():
        entries = evidence.entries.get(event.message)
        if not entries or event.message in retried:
            continue
        first = entries[0].place
        before, earlier = latest.get(event.key, (-1, ""))
        if first < before:
            yield f"G3: {event.message} stands before {earlier}, which was committed earlier under the key {event.key}"
        else:
            latest[event.key] = (first, event.message)
