"""Printable text: what others wrote, in a form that every log, terminal, page, JSON reader and database can take.

Redis holds bytes. Those that are not UTF-8 come to us as lone surrogates (see outbox.servers.topology), so that a
name can be sent back to Redis as it was; but a surrogate has no UTF-8 form, and everything else refuses it. Control
characters act on a terminal, and marks of direction reorder a line.
"""

from __future__ import annotations

import shlex
import unicodedata

_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of controls, format marks, surrogates, and separators of lines and paragraphs."""

_JOINERS = frozenset({"\u200c", "\u200d"})
"""Format marks that Persian and composed emoji are written with, and that change nothing around them."""


def printable(text: str, *, keep_lines: bool = False) -> str:
    r"""`text` with all that cannot be shown escaped: a byte as `\xff`, an escape as `\x1b`, others as `\u202e`.

    The result has a UTF-8 form and is one line; with `keep_lines`, line feeds and tabs stay as they are. Applying it
    again changes nothing.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character, keep_lines) for character in text)


def shell_word(text: str) -> str:
    """`text` as one word of a shell's command line, for advice that names what others have named."""
    if printable(text) == text:
        return shlex.quote(text)
    raw = text.encode(errors="surrogateescape")
    return "$'" + "".join(chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in raw) + "'"


def _shown(character: str, keep_lines: bool) -> str:
    if unicodedata.category(character) not in _ESCAPED or character in _JOINERS:
        return character
    if keep_lines and character in "\n\t":
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # the byte of which `surrogateescape` made it
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()
