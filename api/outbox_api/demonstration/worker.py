"""A plain worker on the stream, as workers were before the outbox: read, parse, set `parsing`,
acknowledge.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import structlog
from bson import ObjectId
from bson.errors import InvalidId
from gridfs import GridFSBucket
from gridfs.errors import CorruptGridFile, NoFile
from pymongo import MongoClient
from pymongo.database import Database
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel
from tenacity import RetryCallState, Retrying, retry_if_exception, sleep_using_event, wait_random_exponential
from tenacity.stop import stop_when_event_set

from outbox.database import CONTENTS
from outbox.servers.causes import explain
from outbox.servers.connections import connect_mongo_sync
from outbox.servers.outages import classify, server_of
from outbox.servers.topology import Members
from outbox.settings import OutboxSettings
from outbox.streams.declaration import FILE_STREAM
from outbox_api.demonstration.parsing import parse

log = structlog.get_logger(__name__)

COUNT = 10
BLOCK_MILLISECONDS = 1000
"""How long one read waits for an entry, and so how late a stop may be noticed."""

OWN = "0"
"""Entries that were given to this consumer and not acknowledged: a crash, or a reply that was lost."""
NEW = ">"

T = TypeVar("T")
Document = dict[str, Any]
Entry = tuple[str, dict[str, str] | None]


class Worker:
    """Parses files as they come. A file may be parsed twice: after a crash between its update and the
    acknowledgement.

    `consumer` names it in the consumer group; two workers with one name would take each other's entries.
    """

    def __init__(self, mongo: MongoClient[Document], redis: Redis, settings: OutboxSettings, consumer: str) -> None:
        stream = settings.streams[FILE_STREAM]
        self._stream = stream.key
        self._group = stream.group
        self._redis = redis
        self._database: Database[Document] = mongo[settings.mongodb_database]
        self._contents = GridFSBucket(self._database, CONTENTS)
        self._consumer = consumer
        self._stop = threading.Event()
        self._start = OWN
        self._waits_for: set[str] = set()  # servers whose outage has been logged

    def stop(self) -> None:
        """Make `run` return after the file in hand. May be called from a signal handler, or another
        thread.
        """
        self._stop.set()

    def run(self) -> None:
        """Work until `stop`. Waits through outages of both servers, and for the relay to make the group."""
        log.info("worker started", stream=self._stream, group=self._group, consumer=self._consumer)
        while not self._stop.is_set():
            for entry_id, fields in self._patiently(self._read) or []:
                if self._stop.is_set():
                    break  # the rest stays ours, and comes first at the next start
                self._patiently(partial(self._handle, entry_id, fields or {}))  # no fields: trimmed meanwhile
        log.info("worker stopped")

    def _patiently(self, work: Callable[[], T]) -> T | None:
        """The result of `work`, repeated through outages; None when asked to stop during one."""
        return Retrying(
            wait=wait_random_exponential(multiplier=0.1, max=2),
            retry=retry_if_exception(lambda error: classify(error) is not None),
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            after=self._waits,
            retry_error_callback=lambda _: None,
        )(work)

    def _read(self) -> list[Entry]:
        streams: dict[Any, Any] = {self._stream: self._start}
        answer = self._redis.xreadgroup(self._group, self._consumer, streams, count=COUNT, block=BLOCK_MILLISECONDS)
        self._goes_on("redis")
        entries = [entry for _, entries in cast("list[tuple[str, list[Entry]]]", answer) for entry in entries]
        if self._start == OWN and not entries:
            self._start = NEW
        return entries

    def _handle(self, entry_id: str, fields: dict[str, str]) -> None:
        file_id = fields.get("file_id", "")
        try:
            result = self._parse(ObjectId(file_id))
        except InvalidId:
            log.warning("entry without a file", entry=entry_id, fields=fields)
        else:
            found = self._database.files.update_one(
                {"_id": ObjectId(file_id)}, {"$set": result, "$currentDate": {"updated_at": True}}
            )
            self._goes_on("mongodb")
            log.info("parsed" if found.matched_count else "file is gone", file_id=file_id, entry=entry_id, **result)
        self._redis.xack(self._stream, self._group, entry_id)

    def _parse(self, file_id: ObjectId) -> Document:
        """The fields of the file's record to set."""
        try:
            parsed = parse(self._chunks(file_id))
        except (NoFile, CorruptGridFile) as error:
            return {"parsing": f"error: contents cannot be read: {error}"}
        return {"parsing": f"error: {parsed.problem}" if parsed.problem else "parsed", "parsed": parsed.summary()}

    def _chunks(self, file_id: ObjectId) -> Iterator[bytes]:
        with self._contents.open_download_stream(file_id) as contents:
            while chunk := contents.readchunk():
                yield chunk

    def _waits(self, attempt: RetryCallState) -> None:
        self._start = OWN  # the reply that was lost may have given us entries
        error = attempt.outcome.exception() if attempt.outcome else None
        if error and server_of(error) not in self._waits_for:
            self._waits_for.add(server_of(error))
            if str(error).startswith("NOGROUP"):  # the relay makes it, at its first start
                log.info("waiting for the stream and its group")
            else:
                log.warning(f"{server_of(error)} unavailable", cause=str(explain(error)))

    def _goes_on(self, server: str) -> None:
        if server in self._waits_for:
            self._waits_for.remove(server)
            log.info(f"{server} available again")


def connect(settings: OutboxSettings) -> tuple[MongoClient[Document], Redis]:
    """Clients as a worker of today has them; connected at first use."""
    mongo = connect_mongo_sync(settings)
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_connect_timeout": 5,
        "socket_timeout": 5 + BLOCK_MILLISECONDS / 1000,  # a blocking read is silent for that long
        "retry": Retry(NoBackoff(), 0),
    }
    address = urlsplit(settings.redis_dsn)
    if not address.scheme.endswith("+sentinel"):
        return mongo, Redis.from_url(settings.redis_dsn, **options)
    members = Members.read(address)
    sentinels = Sentinel(members.hosts, sentinel_kwargs={"socket_connect_timeout": 1, "socket_timeout": 1})  # type: ignore[no-untyped-call]
    return mongo, sentinels.master_for(members.path[0], **options, **members.options)  # type: ignore[no-untyped-call]
