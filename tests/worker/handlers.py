"""Handlers that the tests' worker processes run: `--handler tests.worker.handlers:NAME`."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession

from outbox.worker import GiveUp, Handlers, Message, RetryAfter, Snooze

DATABASE = os.environ.get("MONGODB_DATABASE", "outbox")


async def effect(message: Message, session: AsyncClientSession) -> None:
    """Leaves traces of each time that it took effect, slowly enough to be killed in between."""
    database = session.client[DATABASE]
    await database.effects.insert_one({"message": message.id}, session=session)
    await asyncio.sleep(random.uniform(0, 0.02))
    change = {"$inc": {"effects": 1}, "$set": {"parsing": "parsed"}}
    await database.files.update_one({"_id": ObjectId(message.key)}, change, session=session)


def effect_plain(message: Message, session: ClientSession) -> None:
    database = session.client[DATABASE]
    database.effects.insert_one({"message": message.id}, session=session)
    change = {"$inc": {"effects": 1}, "$set": {"parsing": "parsed"}}
    database.files.update_one({"_id": ObjectId(message.key)}, change, session=session)


every_feature = Handlers("kind", unknown="left alone")
"""Each kind of a message is handled in another way, and leaves the traces of `effect`."""


@every_feature.on("slow", seconds=0.5)
async def slow(message: Message, session: AsyncClientSession) -> None:
    """Does not end in its time, at its first attempt, after it has written what must not last."""
    await effect(message, session)
    if message.attempt == 1:
        await asyncio.sleep(60)


@every_feature.on("snoozed")
async def snoozed(message: Message, session: AsyncClientSession) -> None:
    await effect(message, session)
    if message.attempt <= 2:
        raise Snooze(0.2)


@every_feature.on("many")
async def many(messages: Sequence[Message], session: AsyncClientSession) -> None:
    database = session.client[DATABASE]
    await database.effects.insert_many([{"message": message.id} for message in messages], session=session)
    await asyncio.sleep(random.uniform(0, 0.02))
    keys = [ObjectId(message.key) for message in messages]
    change = {"$inc": {"effects": 1}, "$set": {"parsing": "parsed"}}
    await database.files.update_many({"_id": {"$in": keys}}, change, session=session)
    if any(message.fields["filename"] == "bad" and message.attempt == 1 for message in messages):
        raise ValueError("bad, at its first attempt")


every_feature.on("async")(effect)
every_feature.on("plain")(effect_plain)
KINDS = ("async", "plain", "many", "many", "many", "snoozed", "slow")


async def moody(message: Message, session: AsyncClientSession) -> None:
    """Does as the file's name says, after it has written something that must not last."""
    files: Any = session.client[DATABASE].files
    await files.update_one({"_id": ObjectId(message.key)}, {"$inc": {"effects": 1}}, session=session)
    match message.fields.get("filename", ""):
        case "fails-twice" if message.attempt <= 2:
            raise ValueError(f"no luck at attempt {message.attempt}")
        case "always-fails":
            raise ValueError("no luck, ever")
        case "gives-up":
            raise GiveUp("nobody can read this")
        case "comes-later" if message.attempt == 1:
            raise RetryAfter(2, "busy")
    await files.update_one({"_id": ObjectId(message.key)}, {"$set": {"parsing": "parsed"}}, session=session)


async def killer(message: Message, session: AsyncClientSession) -> None:
    """Kills its process, for a file called `killer`; slowly enough for others to be in flight."""
    database = session.client[DATABASE]
    await database.calls.insert_one({"key": message.key, "process": os.getpid()})
    if message.fields.get("filename") == "killer":
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(1)
    change = {"$inc": {"effects": 1}, "$set": {"parsing": "parsed"}}
    await database.files.update_one({"_id": ObjectId(message.key)}, change, session=session)


def killer_plain(message: Message, session: ClientSession) -> None:
    """By a fault in C, which Python sees nothing of."""
    database = session.client[DATABASE]
    database.calls.insert_one({"key": message.key, "process": os.getpid()})
    if message.fields.get("filename") == "killer":
        faulthandler.disable()
        ctypes.string_at(0)
    time.sleep(0.3)
    change = {"$inc": {"effects": 1}, "$set": {"parsing": "parsed"}}
    database.files.update_one({"_id": ObjectId(message.key)}, change, session=session)


def holds_the_lock(message: Message, session: ClientSession) -> None:
    """One call into C that holds the interpreter's lock for seconds: nothing else runs in its process."""
    database = session.client[DATABASE]
    database.calls.insert_one({"key": message.key, "process": os.getpid()})
    ctypes.PyDLL(None).sleep(int(os.environ["LOCK_SECONDS"]))  # a PyDLL keeps the lock, a CDLL does not
    change = {"$inc": {"effects": 1}, "$set": {"parsing": "parsed"}}
    database.files.update_one({"_id": ObjectId(message.key)}, change, session=session)


async def blocks_its_loop(message: Message, session: AsyncClientSession) -> None:
    """Never comes back to its event loop, for a file called `killer`."""
    database = session.client[DATABASE]
    await database.calls.insert_one({"key": message.key, "process": os.getpid()})
    while message.fields.get("filename") == "killer":
        pass
    change = {"$inc": {"effects": 1}, "$set": {"parsing": "parsed"}}
    await database.files.update_one({"_id": ObjectId(message.key)}, change, session=session)


async def exits_in_a_task(message: Message, session: AsyncClientSession) -> None:
    async def part() -> None:
        sys.exit(0)

    await asyncio.gather(part(), asyncio.sleep(60))


async def hangs_once(message: Message, session: AsyncClientSession) -> None:
    """Writes in its transaction, and never comes to its end; the second call does."""
    database = session.client[DATABASE]
    await _parsed(database, [message], session)
    if await _called_first([message], database):
        await asyncio.sleep(3600)


def hangs_once_plain(message: Message, session: ClientSession) -> None:
    database = session.client[DATABASE]
    change = {"$inc": {"effects": 1}, "$set": {"parsing": "parsed"}}
    database.files.update_one({"_id": ObjectId(message.key)}, change, session=session)
    if database.calls.update_one({"_id": message.id}, {"$inc": {"n": 1}}, upsert=True).upserted_id:
        time.sleep(3600)


async def hangs_once_many(messages: Sequence[Message], session: AsyncClientSession) -> None:
    database = session.client[DATABASE]
    await _parsed(database, messages, session)
    if await _called_first(messages, database):
        await asyncio.sleep(3600)


async def _parsed(database: Any, messages: Sequence[Message], session: AsyncClientSession) -> None:
    keys = [ObjectId(message.key) for message in messages]
    change = {"$inc": {"effects": 1}, "$set": {"parsing": "parsed"}}
    await database.files.update_many({"_id": {"$in": keys}}, change, session=session)


async def _called_first(messages: Sequence[Message], database: Any) -> bool:
    calls = [
        await database.calls.update_one({"_id": message.id}, {"$inc": {"n": 1}}, upsert=True) for message in messages
    ]
    return any(call.upserted_id for call in calls)
