"""API keys: who may do what. Only hashes are kept; a key itself is shown once, when it is made."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from outbox.errors import SettingsError, UsageError

PREFIX = "obx_"
"""What a key begins with, so that scanners for leaked secrets can know one."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
FORM = "NAME:SCOPE[,SCOPE…]:SHA256, with spaces between keys; `outbox key new` makes one"


class Scope(StrEnum):
    """What a key may do. None includes another."""

    UPLOAD = "upload"
    READ = "read"
    OPERATE = "operate"


ALL = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it stands in the settings. `digest` is the SHA-256 of the secret, which has 256 random bits itself:
    a slow hash would protect it no better, and make each request slow.
    """

    name: str
    scopes: frozenset[Scope]
    digest: str

    @property
    def line(self) -> str:
        """The key as `OUTBOX_API_KEYS` has it."""
        return f"{self.name}:{','.join(scope for scope in Scope if scope in self.scopes)}:{self.digest}"

    @property
    def fingerprint(self) -> str:
        """Tells this key from an earlier one of the same name or with other scopes, and gives its digest not away."""
        return hashlib.sha256(f"fingerprint:{self.line}".encode()).hexdigest()[:16]


class Keys:
    """All keys that are valid now. Several may have the same holder while one is replaced by the next."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = tuple(keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, secret: str) -> Key | None:
        """The key whose secret this is. Looks at all of them, and takes as long whichever it is."""
        given, found = _digest(secret), None
        for key in self._keys:
            if hmac.compare_digest(given, key.digest):
                found = key
        return found

    def with_fingerprint(self, fingerprint: str) -> Key | None:
        """The key that a session was opened with, unless it was taken out since."""
        return next((key for key in self._keys if hmac.compare_digest(key.fingerprint, fingerprint)), None)


def make(name: str, scopes: Iterable[Scope]) -> tuple[str, Key]:
    """A new secret, and the key to it. Raises UsageError for a name or scopes that `OUTBOX_API_KEYS` cannot hold."""
    wanted = frozenset(scopes)
    if not _NAME.fullmatch(name):
        raise UsageError(f"name {name!r:.80}: use 1 to 64 letters, digits and . _ -")
    if not wanted:
        raise UsageError(f"give the key at least one scope of {', '.join(Scope)}")
    secret = PREFIX + secrets.token_urlsafe(32)
    return secret, Key(name, wanted, _digest(secret))


def read(text: str) -> Keys:
    """Keys as `OUTBOX_API_KEYS` has them. Raises SettingsError, which says what is wrong where, without a digest."""
    keys = Keys(_read(number, word) for number, word in enumerate(text.split(), 1))
    if len({key.digest for key in keys}) < len(keys):
        raise SettingsError("two keys have the same hash; each has scopes of its own")
    return keys


def refuse_open_door(host: str, *, keys: bool, open_to_all: bool) -> None:
    """Raise SettingsError when anybody on the network could use the API, and nobody said in words that they should."""
    if not (keys or open_to_all or _is_loopback(host)):
        raise SettingsError(
            f"{host} is reached from other machines, and there is no key: anybody could read, and replay. "
            "Make a key with `outbox key new`, and set OUTBOX_API_KEYS. If something before the API asks who is there, "
            "set OUTBOX_API_OPEN_TO_ALL=true instead"
        )


def _is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`, whatever name it goes by."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found)


def _read(number: int, word: str) -> Key:
    name, _, rest = word.partition(":")
    scopes, _, digest = rest.partition(":")
    if not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest):
        raise SettingsError(f"number {number} is not {FORM}")
    if digest == _digest(""):
        raise SettingsError(f"{name}: its hash is that of an empty secret, which anybody knows; use `outbox key new`")
    given = scopes.split(",")
    if wrong := [scope for scope in given if scope not in ALL]:
        raise SettingsError(f"{name}: {wrong[0]!r} is no scope; there are {', '.join(Scope)}")
    return Key(name, frozenset(map(Scope, given)), digest)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
