"""What clients call their files: kept as text to show, never used as a path, a header or a type to trust."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

MAX_LABEL = 255
"""Characters of a file name, and of a folder's id."""

FOLDER_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+$"
FOLDER_RULE = f"give 1 to {MAX_LABEL} characters of UTF-8, none of them a control character"

OCTETS = "application/octet-stream"

_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")
# Cc: control characters; Cs: halves of a pair; Zl, Zp: line ends.
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
# They turn the text around them, so that "gpj.exe" is shown as "exe.jpg".
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# How browsers write these three in a form (WHATWG), and nothing else.
_ESCAPES = {"%22": '"', "%0D": "\r", "%0A": "\n"}


def clean(text: str) -> str:
    """`text` without what cannot be shown."""
    return "".join(c for c in text if unicodedata.category(c) not in _UNPRINTABLE and c not in _TURNING)


def file_label(given: str) -> str:
    """The name a client gave, `../` and emoji included, in one line of 255 characters at most, its end kept."""
    for escape, character in _ESCAPES.items():
        given = given.replace(escape, character)
    label = clean(given).strip() or "unnamed"
    if len(label) <= MAX_LABEL:
        return label
    stem, dot, suffix = label.rpartition(".")
    ending = dot + suffix if stem and len(suffix) <= 16 else ""
    return label[: MAX_LABEL - len(ending) - 1] + "…" + ending


def folder_id(given: str) -> str:
    """The id as it was given: it is looked up again, so it is refused rather than changed. Raises ValueError."""
    if not 1 <= len(given) <= MAX_LABEL or not re.fullmatch(FOLDER_PATTERN, given) or clean(given) != given:
        raise ValueError(FOLDER_RULE)
    return given


def content_type(given: str | None) -> str:
    """The type a client gave, without parameters, if it is one at all."""
    kind = (given or "").partition(";")[0].strip().lower()
    return kind if _TYPE.fullmatch(kind) else OCTETS


def attachment(label: str) -> str:
    """A Content-Disposition (RFC 6266) that makes a browser save, never show; no name in it leads out of a folder."""
    name = re.sub(r"[/\\]", "_", label)
    plain = re.sub(r'[^ -~]|["%]', "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
