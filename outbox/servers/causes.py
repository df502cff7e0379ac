"""Causes: why a server does not do as asked, in words for an operator, with the setting to look at.

A driver says what failed ("Error 1 connecting", "No servers found yet"); an operator needs to know what is wrong and
what to change. Recognised by type, error code and errno where there is one. What a driver says as text only (a TLS
handshake with MongoDB that failed, the name of a replica set) is recognised by the words of OpenSSL and PyMongo.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import redis.exceptions as redis_errors
from pymongo import errors as mongo_errors
from redis.asyncio.sentinel import MasterNotFoundError

from outbox.printable import printable
from outbox.servers.outages import Trouble, classify

MAX_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Cause:
    """`what` is wrong and what to `do`, for everybody to see; `detail`, with addresses and names, is for operators.

    `passes`: it may end without anybody doing anything.
    """

    what: str
    do: str
    passes: bool = False
    detail: str = ""

    @property
    def in_short(self) -> str:
        """Without addresses and names: anybody may ask."""
        return f"{self.what}. {self.do}"

    def __str__(self) -> str:
        return f"{self.what}{f' ({self.detail})' if self.detail else ''}. {self.do}"


def explain(error: BaseException) -> Cause:
    """The cause of an error that a client of MongoDB or Redis raised. Holds no secret."""
    return _mongodb(error) if isinstance(error, mongo_errors.PyMongoError) else _redis(error)


def detail(error: BaseException) -> str:
    """What the driver says, in one line inside of a sentence: without its settings, its view of all servers, and its
    own objects."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    for mark in (" (configured timeouts", ", Timeout:", ", full error:", " : <redis.", ", lsid:"):
        text = text.partition(mark)[0]
    return text[:MAX_DETAIL].rstrip(". ")


# -- MongoDB

_CREDENTIALS = "Correct user, password and authSource in MONGODB_URI."
_SIGNED = "Name the authority that signed it with {}, or renew the certificate."
_UNREACHABLE = ("not known", "Temporary failure", "nodename", "No address", "refused", "Errno", "Connect call")


def _mongodb(error: mongo_errors.PyMongoError) -> Cause:
    text = detail(error)
    if "hint provided does not correspond" in str(error) or "bad hint" in str(error):
        return Cause("An index of the outbox is missing or hidden in MongoDB", "Run outbox init.", False)
    if "uthentication failed" in text and not isinstance(error, mongo_errors.ConfigurationError):
        # The driver tries again for as long as a statement may take. What it raises then has no code, or another one.
        return Cause("MongoDB refuses the user or the password", _CREDENTIALS)
    if isinstance(error, mongo_errors.OperationFailure):
        return _refused_by_mongodb(error, text)
    if isinstance(error, mongo_errors.ConfigurationError):
        do = "Correct MONGODB_URI; mongodb+srv needs SRV records in the DNS."
        return Cause("MONGODB_URI cannot be used", do, False, text)
    if wrong := _certificate(text):
        return Cause(f"MongoDB's certificate {wrong}", _SIGNED.format("tlsCAFile in MONGODB_URI"), False, text)
    if "SSL" in text:
        return Cause("MongoDB does not speak TLS at this address", "Remove tls=true from MONGODB_URI.", False, text)
    if "replica set name" in text:
        do = "Correct replicaSet in MONGODB_URI."
        return Cause("MongoDB's replica set has another name than MONGODB_URI says", do, False, text)
    if any(sign in text for sign in _UNREACHABLE):
        return Cause("MongoDB cannot be reached", "Start it, or correct the address in MONGODB_URI.", True, text)
    if "closed" in text:
        do = "If it serves TLS only, add tls=true to MONGODB_URI; otherwise see MongoDB's log."
        return Cause("MongoDB closes connections", do, True, text)
    if "directConnection" in text:
        do = "Remove directConnection=true from MONGODB_URI and name all members, or let it lead to the primary."
        return Cause("MONGODB_URI leads to a member of the replica set that is not its primary", do, True, text)
    if "rimary" in text:
        do = "Wait until its members have elected one, or start more of them."
        return Cause("MongoDB has no primary", do, True, text)
    return Cause("MongoDB does not answer", "Start it, or correct the address in MONGODB_URI.", True, text)


def _refused_by_mongodb(error: mongo_errors.OperationFailure, text: str) -> Cause:
    match error.code:
        case 8000 if "quota" in text:
            do = "Delete data that is not needed, or choose a larger cluster at Atlas."
            return Cause("MongoDB is full", do, True, text)
        case 18 | 8000:
            return Cause("MongoDB refuses the user or the password", _CREDENTIALS)
        case 13 if "requires authentication" in text:
            return Cause("MongoDB asks for a user, and MONGODB_URI has none", "Put user and password into MONGODB_URI.")
        case 13:
            found = re.search(r"not authorized on (\S+) to execute command \{ (\w+): \"?([^\",}]+)", text)
            wanted = f"{found[2]} on {found[1]}.{found[3]}" if found else text
            do = "Give its role what docs/security.md lists, or put another user into MONGODB_URI."
            return Cause("MongoDB's user lacks a right", do, False, wanted)
        case 205:
            do = (
                "Set its host's clock. If that is right, it was ahead before: raise maxAcceptableLogicalClockDriftSecs."
            )
            return Cause("MongoDB's clock is more than a year behind its own data", do, True, text)
        case 20 | 40573 | 263:
            do = "Run mongod with --replSet, and rs.initiate() it once: transactions and change streams need that."
            return Cause("MongoDB is not a replica set", do, False, text)
    if classify(error) is Trouble.OUTAGE:
        return Cause("MongoDB cannot do this now", "See MongoDB's log if it lasts.", True, text)
    return Cause("MongoDB refuses what it is asked", "Correct what it complains about.", False, text)


# -- Redis

_ACL = re.compile("^(ACL failure in script|The user executing the script can't)")
"""What Valkey 8, and Redis 7, say of a command in a script, by which the driver does not know what it is about."""


def _redis(error: BaseException) -> Cause:
    text = detail(error)
    if "max number of clients" in text:
        do = "Raise maxclients in Redis, or end what holds its connections: redis-cli CLIENT LIST."
        return Cause("Redis takes no more connections", do, True)
    match error:
        case redis_errors.ResponseError() if isinstance(error, redis_errors.NoPermissionError) or _ACL.search(text):
            do = "Give it what docs/security.md lists (ACL SETUSER), or let REDIS_URL name another user."
            return Cause("Redis's user lacks a permission", do, False, text)
        case redis_errors.AuthenticationError() if "invalid" in text or "WRONGPASS" in text:
            do = "Correct REDIS_PASSWORD, or user and password in REDIS_URL."
            return Cause("Redis refuses the user or the password", do)
        case redis_errors.AuthenticationError():
            do = "Set REDIS_PASSWORD, or put user and password into REDIS_URL."
            return Cause("Redis asks for a password, and none is set", do)
        case MasterNotFoundError() if " : " in str(error):
            return Cause("No Sentinel answers", "Start them, or correct their addresses in REDIS_URL.", True)
        case MasterNotFoundError():
            do = "Correct the name in REDIS_URL, such as redis+sentinel://host:26379/mymaster."
            return Cause("The Sentinels watch no service of this name", do, False, text)
        case redis_errors.ReadOnlyError():
            do = "If this lasts longer than a failover, REDIS_URL leads to a replica: let it lead to the primary."
            return Cause("Redis is a replica, and takes no writes", do, True)
        case redis_errors.OutOfMemoryError():
            do = "Raise maxmemory, start more workers, or bound the streams with max_undelivered."
            return Cause("Redis is full", do, True)
        case redis_errors.InvalidResponse():
            return Cause(
                "What answers at Redis's address is not a Redis", "Correct REDIS_URL or REDIS_PORT.", False, text
            )
        case redis_errors.MovedError():
            do = "Let REDIS_URL begin with redis+cluster://; if it does, a slot is being moved, and that passes."
            return Cause("Redis is a node of a cluster, and the key is on another one", do)
        case redis_errors.ResponseError():
            return _refused_by_redis(error, text)
    if "luster mode is not enabled" in text:
        return Cause("Redis is not a cluster", "Let REDIS_URL begin with redis:// instead of redis+cluster://.")
    return _no_connection(error, text)


def _refused_by_redis(error: BaseException, text: str) -> Cause:
    if "unknown command 'SENTINEL'" in text:
        return Cause("REDIS_URL expects a Sentinel, and leads to a Redis", "Let it begin with redis://, or correct it.")
    if text.startswith("unknown command"):
        do = "Let REDIS_URL begin with redis+sentinel:// and end with the service's name; or use Redis 7 or later."
        return Cause("What answers is a Sentinel, or a Redis without streams and scripts", do, False, text)
    if "DB index" in text:
        return Cause("Redis has no database of this number", "Correct the number at the end of REDIS_URL.")
    if "WRONGTYPE" in text:
        do = "See whose key it is (TYPE); rename that key, or declare another stream name."
        return Cause(
            "A key in Redis belongs to another program: it has another type than the outbox needs", do, False, text
        )
    if "last possible ID" in text:
        do = "Rename or delete the stream in Redis: what nobody has acknowledged is then published again."
        return Cause("Others have added the last possible entry to a stream, so that it takes no more", do, False, text)
    if classify(error) is Trouble.OUTAGE:
        return Cause("Redis cannot do this now", "See Redis's log if it lasts.", True, text)
    return Cause("Redis refuses what it is asked", "Correct what it complains about.", False, text)


def _no_connection(error: BaseException, text: str) -> Cause:
    for cause in _chain(error):
        match cause:
            case ssl.SSLCertVerificationError():
                wrong = _certificate(str(cause)) or "is not accepted"
                return Cause(f"Redis's certificate {wrong}", _SIGNED.format("ssl_ca_certs in REDIS_URL"), False, text)
            case ssl.SSLError():
                do = "Let REDIS_URL begin with redis:// instead of rediss://, or correct the port."
                return Cause("Redis does not speak TLS at this address", do, False, text)
            case FileNotFoundError() | PermissionError() if "connecting to /" in text:
                return Cause(
                    "Redis's socket is not there, or may not be used", "Start Redis, or correct REDIS_URL.", True, text
                )
            case FileNotFoundError() | PermissionError():
                return Cause(
                    "A file that REDIS_URL names cannot be read", "Correct ssl_ca_certs and its like.", False, text
                )
            case socket.gaierror():
                do = "Correct REDIS_HOST or REDIS_URL, or this machine's DNS."
                return Cause("Redis's host is not known", do, True, text)
    if "losed by server" in text:
        do = "If it serves TLS only, let REDIS_URL begin with rediss://; otherwise see Redis's log."
        return Cause("Redis closes connections", do, True, text)
    return Cause("Redis cannot be reached", "Start it, or correct REDIS_URL, or REDIS_HOST and REDIS_PORT.", True, text)


# -- both


def _certificate(text: str) -> str | None:
    """What OpenSSL has against a certificate; None when the error is another one."""
    if "CERTIFICATE_VERIFY_FAILED" not in text:
        return None
    if "expired" in text:
        return "has expired"
    if "mismatch" in text:
        return "is for another host"
    return "is signed by nobody that this program trusts"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those behind it."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__
