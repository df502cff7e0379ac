"""What messages are made of, by chance: fields with any text, of any size; and documents with any `_id`."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from bson import Binary, Decimal128, Int64, ObjectId
from bson.binary import UUID_SUBTYPE

Fields = dict[str, str]

NOT_CONTENTS = {b"message_id", b"attempt", b"traceparent", b"tracestate"}
"""Fields of an entry that the relay adds."""

ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz", "0123456789-", "\0\1\t\n\r\x1b\x7f", "äßéñøŁ", "漢字かな", "\U0001f600\U0010ffff",
    "\"'\\{}[]$<>&;|*", "\u200b\u202e\ufeff\u2028",
]  # fmt: skip
SIZES = [0, 1, 1, 3, 20, 20, 200, 3_000, 18_000]


def text(dice: random.Random, size: int) -> str:
    """A text without surrogates, which no message can have."""
    letters = "".join(dice.sample(ALPHABETS, dice.randint(1, 3)))
    some = "".join(dice.choices(letters, k=min(size, 50)))
    return (some * (size // 50 + 1))[:size] if some else ""


def fields(dice: random.Random, mood: str) -> Fields:
    """Few or many, small or large: up to some 200 KB together."""
    made = {_name(n, dice): text(dice, dice.choice(SIZES)) for n in range(dice.choice([0, 1, 1, 3]))}
    return {"mood": mood, **made}


def _name(number: int, dice: random.Random) -> str:
    return f"f{number}{text(dice, dice.choice([0, 0, 1, 5]))}".replace("\0", "")


def contents(of: Mapping[Any, Any]) -> str:
    """Fields in a short form: two of one form are alike. Of an entry, without those that the relay has added."""
    pairs = sorted((_bytes(name), _bytes(value)) for name, value in of.items())
    digest = hashlib.sha256()
    for name, value in pairs:
        if name not in NOT_CONTENTS:
            digest.update(b"%d %d " % (len(name), len(value)) + name + value)
    return digest.hexdigest()[:16]


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


IDS: dict[str, Callable[[int, random.Random], Any]] = {
    "objectId": lambda _, dice: ObjectId(dice.randbytes(12)),
    "text": lambda n, dice: f"{n} {text(dice, 8)}".replace("\0", ""),
    "text like an ObjectId": lambda _, dice: str(ObjectId(dice.randbytes(12))),
    "int": lambda n, dice: n,
    "long": lambda n, dice: Int64(2**40 + n),
    "float": lambda n, dice: n + 0.5,
    "decimal": lambda n, dice: Decimal128(f"{n}.10"),
    "date": lambda n, dice: datetime(2020, 1, 1, tzinfo=UTC).replace(
        microsecond=1000 * (n % 1000), second=n // 1000 % 60
    ),
    "uuid": lambda _, dice: Binary(dice.randbytes(16), UUID_SUBTYPE),
    "bytes": lambda n, dice: b"%d" % n + dice.randbytes(5),
    "document": lambda n, dice: {"tenant": text(dice, 3), "number": n},
}
"""Kinds of `_id`, each different for each number below 60,000."""
