"""A small honest parser: what kind of file it is by its contents, and a few facts about it, in flat
memory.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from outbox_api.demonstration.formats import CutOff, Details, archive, details, recognise

BLOCK = 256 * 1024
_TAIL = 64 * 1024 + 22  # where the end record of a ZIP file is, with the longest comment

# `/Type /Page` and not `/Type /Pages`. At most eight spaces, so that a match has a greatest length.
_PAGE = re.compile(rb"/Type\s{0,8}/Page(?![A-Za-z])")
_PAGE_BYTES = len("/Type/Page") + 8

# Control characters that no text has: all but tabs, breaks, backspace and escape.
_NOT_TEXT = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was found. `problem` says why the contents are not what they begin as; None when nothing is
    wrong.
    """

    kind: str
    size: int
    details: Details = field(default_factory=dict)
    problem: str | None = None

    def summary(self) -> dict[str, int | str]:
        return {"kind": self.kind, "size": self.size, **self.details}


def parse(chunks: Iterable[bytes]) -> Parsed:
    """Read all of `chunks` once. Never raises by itself, and how the bytes are cut into chunks changes
    nothing.
    """
    cut = _blocks(chunks)
    head = next(cut, b"")
    blocks = _Counted(chain([head], cut))
    try:
        kind, found = _recognised(head, blocks)
        problem = None
    except CutOff as error:
        kind, found, problem = recognise(head) or "binary", Details(), str(error)
    for _ in blocks:  # what the reader of that kind had no use for
        pass
    return Parsed(kind, blocks.size, found, problem)


def _recognised(head: bytes, blocks: Iterable[bytes]) -> tuple[str, Details]:
    kind = recognise(head)
    if not head:
        return "empty", {}
    if kind is None:
        return _text(head, blocks)
    if kind == "zip":
        return archive(head, _tail(blocks))
    found = details(kind, head)
    if kind == "pdf" and (pages := _pages(blocks)):
        found["pages"] = pages
    return kind, found


class _Counted:
    """The blocks, and how many bytes of them have been taken so far."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = next(self._blocks)
        self.size += len(block)
        return block


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of one size, the last one shorter, so that every reader sees the same cuts."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= BLOCK:
            yield bytes(waiting[:BLOCK])
            del waiting[:BLOCK]
    if waiting:
        yield bytes(waiting)


def _tail(blocks: Iterable[bytes]) -> bytes:
    tail = b""
    for block in blocks:
        tail = (tail + block)[-_TAIL:]
    return tail


def _pages(blocks: Iterable[bytes]) -> int:
    """How many page objects are in plain sight: a guess, none where they are compressed."""
    pages, carry = 0, b""
    for block in blocks:
        seen = carry + block
        end = 0
        for match in _PAGE.finditer(seen):
            if match.end() < len(seen):  # otherwise the next block decides whether it is `/Pages`
                pages += 1
                end = match.end()
        carry = seen[max(end, len(seen) - _PAGE_BYTES) :]
    return pages + len(_PAGE.findall(carry))


def _text(head: bytes, blocks: Iterable[bytes]) -> tuple[str, Details]:
    """Lines, words and characters, if all of it is text; otherwise it is binary."""
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    decoder = codecs.getincrementaldecoder(encoding)()
    breaks, words, characters, last = 0, 0, 0, ""
    try:
        for block in chain(blocks, [b""]):
            # The empty one at the end: a character that is not complete by then never will be.
            text = decoder.decode(block, final=not block)
            if _NOT_TEXT.search(text):
                return "binary", {}
            breaks += text.count("\n")
            words += len(text.split())
            if text and last and not last.isspace() and not text[0].isspace():
                words -= 1  # one word, cut in two
            characters += len(text)
            last = text[-1:] or last
    except UnicodeDecodeError:
        return "binary", {}
    lines = breaks + (last not in ("", "\n"))
    return "text", {
        "encoding": encoding.removesuffix("-sig"),
        "lines": lines,
        "words": words,
        "characters": characters,
    }
