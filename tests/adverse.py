"""What nobody should write, and others do: names, values, entries and documents by chance, the same for each seed."""

from __future__ import annotations

import random
from typing import Any

from bson import Binary, Code, MinKey, ObjectId, Regex, Timestamp, encode
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument

from outbox.message.document import SCHEMA_VERSION, State

NAMES = [
    b"message_id", b"attempt", b"file_id", b"folder_id", b"traceparent", b"__data__", b"$set", b"$ref", b"$id", b"a.b",
    b"a\0b", b"\0", b"", b"\xff", b"\xed\xa0\x80", b"name" * 60, "ﬁeld\u202e".encode(), b"\x1b]0;owned\x07",
]  # fmt: skip
VALUES = [
    b"", b"\0", b"\xff\xfe", b"\xc3(", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x1b[2J", b"x" * 300_000, b"\r\n$-1\r\n",
    b"1", b"0", b"-1", b"+1", b"01", b" 1", b"1 ", b"1_0", b"1.0", b"1e3", b"0x1", b"9" * 400, b"9" * 5000,
    b"2147483647", b"2147483648", b"9223372036854775808", "²".encode(), "٣".encode(), "１".encode(), b"nan",
    b"507f1f77bcf86cd79943901", b"507f1f77bcf86cd7994390111", b"507F1F77BCF86CD799439011", b"507f1f77bcf86cd79943901g",
    b"507f1f77bcf86cd7 9943901", b" " * 24, b"\0" * 24, b"\xff" * 24, b"q" * 12,
]  # fmt: skip
GROUPS = [
    b"\xff", b"caf\xe9", b"\xc3(", b"", b" ", b"a b\n", b"\x1b[2J", b"\0", b"<script>", b"%s{0}", b"g" * 600, b"-",
]  # fmt: skip
PLACES = [
    "_id", "key", "fields", "headers", "last_error", "tag", "entries", "batch", "attempts", "schema", "position",
    "partition", "stream", "extra", "created_at", "available_at", "published_at", "died_at", "completed_at",
    "recovered", "rescued", "failed", "forgiven", "replayed", "retried", "recovered_at", "replayed_at",
]  # fmt: skip


class Adverse:
    """One seed's chances."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def noise(self) -> bytes:
        return self.random.randbytes(self.random.randrange(1, 30))

    def name(self) -> bytes:
        return self.random.choice(NAMES) if self.random.random() < 0.7 else self.noise()

    def value(self) -> bytes:
        return self.random.choice(VALUES) if self.random.random() < 0.7 else self.noise()

    def group(self) -> bytes:
        return self.random.choice(GROUPS) if self.random.random() < 0.7 else self.noise()

    def consumer(self) -> bytes:
        return self.random.choice([b"", b"outbox:"]) + self.group()

    def entry(self, known: list[ObjectId]) -> list[bytes]:
        """Names and values, a name perhaps twice; some speak of a message that there is, or nearly."""
        words: list[bytes] = []
        for _ in range(self.random.randrange(1, 5)):
            words += [self.name(), self.value()]
        if self.random.random() < 0.4:
            id_ = str(self.random.choice([*known, ObjectId()])).encode()
            words += [b"message_id", self.random.choice([id_, id_.upper(), id_[:-1] + b"\n"]), b"attempt", self.value()]
        return words

    def document(self, stream: str, **values: Any) -> RawBSONDocument:
        """A message, with texts that are not UTF-8 in some places."""
        document = {
            "_id": ObjectId(), "schema": SCHEMA_VERSION, "stream": stream, "partition": 0, "key": "k",
            "position": Timestamp(self.random.randrange(1, 1000), 1), "fields": {"file_id": "f"}, "headers": {},
            "state": self.random.choice(list(State)).value, "attempts": self.random.choice([0, 1, 2]),
            "last_error": "it failed", "batch": self.random.choice([1, 2**40]), "tag": "t",
            **values,
        }  # fmt: skip
        for name in self.random.sample(PLACES, 4):
            document[name] = self.id() if name == "_id" else self.odd()
        return broken(document)

    def odd(self) -> Any:
        """A value of the wrong kind."""
        return self.random.choice(
            ["QQQQ", {"QQQQ": "QQQQ"}, ["QQQQ"], None, 2**62, -1, float("nan"), {"$ref": "QQQQ", "$id": 1}, Regex("QQ"),
             DatetimeMS(2**62), Code("QQQQ"), Binary(b"\xff"), MinKey(), "\0", "x" * 20_000]
        )  # fmt: skip

    def id(self) -> Any:
        return self.random.choice([ObjectId(), ObjectId(), f"QQQQ{self.random.random()}", {"a": self.random.random()},
            self.random.randrange(2**62), self.random.random(), Binary(self.noise() + bytes(12)[:4])])  # fmt: skip


def broken(document: dict[str, Any]) -> RawBSONDocument:
    """The document with bytes that are not UTF-8 wherever it says QQQQ."""
    return RawBSONDocument(encode(document).replace(b"QQQQ", b"\xff\xc3(\x1b"))
