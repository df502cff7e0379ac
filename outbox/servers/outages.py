"""What an error of a server means for who meets it: wait, wait and shout, or stop because it is a mistake of ours."""

from __future__ import annotations

import re
from enum import Enum

import redis.exceptions as redis_errors
from dns.exception import DNSException
from pymongo import errors as mongo_errors


class Trouble(Enum):
    """Why a server does not do as asked. Neither kind is the fault of a message, so neither spends its attempts."""

    OUTAGE = "outage"
    """It will pass: not reachable, starting, failing over, full, busy."""

    MISCONFIGURED = "misconfigured"
    """It passes when an operator does something: wrong password, missing permission, a key of another type."""


# By the first word of the reply. What is not in here is not known to pass by itself, so it is told loudly.
_REDIS_PASSES = frozenset(
    [
        "LOADING",
        "READONLY",
        "CLUSTERDOWN",
        "MASTERDOWN",
        "OOM",
        "MISCONF",
        "NOREPLICAS",
        "BUSY",
        "TRYAGAIN",
        "UNKILLABLE",
        "MOVED",
        "ASK",
        "BUSYKEY",
        "UNBLOCKED",
    ]
)
_IN_SCRIPT = re.compile("@user_script: ?[0-9]+: -([A-Z]+) ")
"""Redis before version 7 puts the reply that ended a script behind other words."""
_REDIS_PASSING_TYPES = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.BusyLoadingError,
    redis_errors.ReadOnlyError,
    redis_errors.OutOfMemoryError,
    redis_errors.ClusterError,
    redis_errors.MasterDownError,
    redis_errors.TryAgainError,
    redis_errors.AskError,  # a slot moves, or has moved
    redis_errors.RedisClusterException,  # such as a slot that no node has at present
    OSError,
)
_REDIS_ACCESS = (redis_errors.AuthenticationError, redis_errors.NoPermissionError)

_MONGO_ACCESS = frozenset({13, 18, 8000})
"""Unauthorized, AuthenticationFailed, AtlasError."""

_MONGO_RETRYABLE = {
    *(6, 7, 89, 91, 189, 262, 9001, 10058, 10107, 11600, 11602, 13435, 13436),  # unreachable, ending, or not primary
    *(24, 46, 50, 112, 290, 365),  # LockTimeout, LockBusy, MaxTimeMSExpired, WriteConflict, a transaction too old, busy
}
"""The first line as in "Retryable Writes" and "Server Discovery and Monitoring" of MongoDB's driver specifications. A
command that fails with one carries a label or is an error of another type; the error of one write of a command does
not. So fails, with 10107, a write of many documents under which the primary steps down."""

_MONGO_PASSES = _MONGO_RETRYABLE | {
    *(43, 134, 175, 237, 239, 246, 286, 388),
    *(63, 133, 150, 202, 234, 249, 13388),  # a shard has no primary, is slow, or its chunks move
    *(117, 215, 225, 251, 267, 355, 11601, 12586, 12587),  # stopped, or kept out, by another operation
    *(205, 211),  # right after a clock has stepped
    *(145, 261, 264, 462, 14031),  # full: connections, sessions, files, requests, disk
}
"""The first line: CursorNotFound, QueryPlanKilled, CursorKilled: a failover took the rest of an answer. SnapshotTooOld,
SnapshotUnavailable, ReadConcernMajorityNotAvailableYet: a new primary cannot answer yet. ChangeStreamHistoryLost: it
fell behind the oplog, and is opened again at the present. TransactionTooLargeForCache: also of a single write, when few
others are under way and the cache is full. What is asked once more is answered."""

_MONGO_NEVER = frozenset({79, 100})
"""UnknownReplWriteConcern, UnsatisfiableWriteConcern: the write concern asks for members that do not exist."""


def classify(error: BaseException) -> Trouble | None:
    """The trouble that `error` tells of, or None when it is not a server's: then it is a defect, and should stop us."""
    if isinstance(error, mongo_errors.OperationFailure) and error.code in _MONGO_ACCESS:
        return Trouble.MISCONFIGURED
    if isinstance(error, mongo_errors.ConfigurationError):
        # So the driver calls it, too, when the name of a mongodb+srv:// address cannot be looked up at present.
        return Trouble.OUTAGE if isinstance(error.__cause__, DNSException) else Trouble.MISCONFIGURED
    if isinstance(error, mongo_errors.InvalidOperation):
        return None
    if isinstance(error, mongo_errors.PyMongoError):
        return Trouble.OUTAGE if _passes(error) else Trouble.MISCONFIGURED
    # First, because redis-py derives it from ConnectionError.
    if isinstance(error, _REDIS_ACCESS):
        return Trouble.MISCONFIGURED
    if isinstance(error, _REDIS_PASSING_TYPES):
        return Trouble.OUTAGE
    if isinstance(error, redis_errors.RedisError):
        return Trouble.OUTAGE if _passes_in_redis(str(error)) else Trouble.MISCONFIGURED
    return None


def server_of(error: BaseException) -> str:
    """Which of the two servers `error` is about: "mongodb" or "redis"."""
    return "mongodb" if isinstance(error, mongo_errors.PyMongoError) else "redis"


def _passes_in_redis(text: str) -> bool:
    if text.startswith("max number of clients"):  # of a cluster, the driver does not know the rest of the words
        return True
    in_script = _IN_SCRIPT.search(text)
    return (in_script[1] if in_script else text.split(" ", 1)[0].rstrip(":")) in _REDIS_PASSES


def _passes(error: mongo_errors.PyMongoError) -> bool:
    if isinstance(error, mongo_errors.ConnectionFailure | mongo_errors.ExecutionTimeout) or error.timeout:
        return True
    labels = (
        "TransientTransactionError",
        "UnknownTransactionCommitResult",
        "RetryableWriteError",
        "ResumableChangeStreamError",
    )
    if any(error.has_error_label(label) for label in labels):
        return True
    codes = _codes(error)
    if isinstance(error, mongo_errors.WriteConcernError):
        return not codes & _MONGO_NEVER
    return bool(codes) and codes <= _MONGO_PASSES


def _codes(error: mongo_errors.PyMongoError) -> set[int | None]:
    """The server's codes: of the command, or of each write in it that failed."""
    if isinstance(error, mongo_errors.BulkWriteError):
        return {
            one.get("code") for kind in ("writeErrors", "writeConcernErrors") for one in error.details.get(kind, ())
        }
    return {error.code} if isinstance(error, mongo_errors.OperationFailure) else set()
