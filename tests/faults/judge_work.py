"""The offline judge of consumers: what was completed has been handled, and by workers of ours exactly once.

As the judge of streams, it shares no code with the product, and looks when everything has come to rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.history import (
    Adopted,
    Appended,
    Deleted,
    History,
    Hopeless,
    Lost,
    Replayed,
    RolledBack,
    Skipped,
    Spoilt,
)


@dataclass(slots=True)
class Account:
    """What should have become of one message. `committed` None: unknown, then the outbox tells.

    `effects`: how many there should be, where each is applied exactly once.
    """

    committed: bool | None
    contents: str = ""
    hopeless: bool = False
    spoilt: bool = False
    deleted: bool = False
    effects: int = 1
    least: int = 1
    """Fewer than that when Redis lost what was replayed, and its subject is settled: then it is not wanted again."""
    skipped: bool = False


@dataclass(slots=True)
class Work:
    """What a stream's workers did: with each message they were given, the contents that they saw, in a short form.

    `exactly`: they are of ours, so each message takes effect once. Otherwise at least once.
    """

    exactly: bool
    handled: dict[str, list[str]] = field(default_factory=dict)
    settles: bool = False
    """Whether the messages are about subjects, which their first effect settles."""
    beside: dict[str, list[list[str]]] = field(default_factory=dict)
    """Of each message that has ended its process, the others that were in hand there, each time."""
    tries: int = 0
    """How often such a message may be tried. Operators, repairs and rescues may each make one good."""


def judge(history: History, outbox: Iterable[Mapping[str, Any]], work: Work) -> list[str]:
    """Every violation, the promise first; an empty list is an acquittal.

    :param outbox: all documents of the stream.
    """
    documents = {str(document["_id"]): document for document in outbox}
    skipped = {event.message for event in history.events if isinstance(event, Skipped)}
    accounts, adopted = _accounts(history, work)
    again = Counter(event.message for event in history.events if isinstance(event, Replayed) and event.completed)
    found: list[str] = []
    for message in accounts.keys() & skipped:
        accounts[message].skipped = True
    for message, account in accounts.items():
        found += _judge_message(message, account, documents.get(message), work)
    becoming: dict[str, list[str]] = {entry: [] for entry in adopted}
    for message in sorted((documents.keys() | work.handled.keys()) - accounts.keys()):
        document = documents.get(message)
        entry = str((document or {}).get("fields", {}).get("foreign", ""))
        if document is None or entry not in becoming:
            found.append(
                f"G2: nobody appended {message}, which is {_state(document)}, and handled {_times(work, message)}"
            )
            continue
        becoming[entry].append(message)
        effects = 1 + again[message]
        account = Account(True, adopted[entry], effects=effects, least=1 if work.settles else effects)
        account.skipped = message in skipped
        found += _judge_message(message, account, document, work)
    found += [
        f"G6: the entry {entry} of others became {len(messages)} messages: {messages}"
        for entry, messages in becoming.items()
        if len(messages) > 1
    ]
    return found + beyond_repair(history, work)


def beyond_repair(history: History, work: Work) -> list[str]:
    """The violations that stay, whatever is waited for: of what ends its process each time.

    From the second time on it is handled alone, and in the end it is dead. What Redis loses may come as if it were new.
    """
    return [*_judge_ends(history, work)]


def _judge_ends(history: History, work: Work) -> Iterable[str]:
    losses = sum(isinstance(event, Lost) for event in history.events)
    for message, times in work.beside.items():
        company = [others for others in times if others]
        if len(company) > 1 + losses:
            yield (
                f"surface: {message} has ended its process {len(times)} times, {len(company)} times with others in "
                f"hand: {company}"
            )
        if len(times) > 2 * work.tries + losses:
            yield f"surface: {message} has ended its process {len(times)} times, and may be tried {work.tries} times"


def _accounts(history: History, work: Work) -> tuple[dict[str, Account], dict[str, str]]:
    accounts: dict[str, Account] = {}
    adopted: dict[str, str] = {}
    for event in history.events:
        match event:
            case Appended():
                accounts[event.message] = Account(True if event.acknowledged else None, event.contents)
            case RolledBack():
                accounts[event.message] = Account(False)
            case Hopeless():
                accounts[event.message].hopeless = True
            case Replayed() if event.message in accounts:  # or it was an entry of others
                accounts[event.message].effects += event.completed
                accounts[event.message].least += event.completed
            case Lost() if work.settles:
                for account in accounts.values():
                    account.least = 1
            case Adopted():
                adopted[event.entry] = event.contents
    # Others may be faster than the answer to the commit.
    for event in history.events:
        match event:
            case Spoilt() if event.message in accounts:
                accounts[event.message].spoilt = True
            case Deleted() if event.message in accounts:
                accounts[event.message].deleted = True
    return accounts, adopted


def _judge_message(message: str, account: Account, document: Mapping[str, Any] | None, work: Work) -> Iterable[str]:
    handled = work.handled.get(message, ())
    if account.deleted:
        if document is not None:
            yield f"G2: {message} was deleted, and is in the outbox as {_state(document)}"
        return
    if account.committed is not True and document is None:
        if handled:
            yield f"G2: {message} was never committed, and was handled {_times(work, message)}"
        return
    if account.committed is False:
        yield f"G2: {message} was rolled back, and is in the outbox as {_state(document)}"
        return
    if document is None:
        yield f"G1: {message} was acknowledged, and is not in the outbox"
        return
    dead = account.hopeless or (account.spoilt and _state(document) == "dead")
    wanted = "dead" if dead else "completed"
    if _state(document) != wanted:
        reason = f" ({document.get('last_error')})" if _state(document) == "dead" else ""
        yield f"G1: {message} is {_state(document)}{reason}, and should be {wanted}; handled {_times(work, message)}"
    elif dead and not document.get("last_error"):
        yield f"G1: {message} is dead without a reason"
    if not work.exactly:
        if _state(document) == "completed" and not handled and not account.skipped:
            yield f"G6: {message} is completed, and nobody has handled it"
    elif (
        not account.hopeless
        and _state(document) == "completed"
        and not account.least <= len(handled) <= account.effects
    ):
        yield f"G6: {message} should have taken effect {account.effects} times, and has {_times(work, message)}"
    elif account.hopeless and handled:
        yield f"G6: {message} has failed each time, and has taken effect {_times(work, message)}"
    for contents in handled:
        if contents != account.contents:
            yield f"surface: {message} was handled with other contents than it was appended with"
            break


def _state(document: Mapping[str, Any] | None) -> str:
    return "not in the outbox" if document is None else str(document.get("state"))


def _times(work: Work, message: str) -> str:
    return f"{len(work.handled.get(message, ()))} times"
