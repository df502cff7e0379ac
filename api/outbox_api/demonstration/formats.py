"""Recognising a file by its first bytes, and reading the little that its header tells."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping

Details = dict[str, int | str]

# (offset, bytes, kind): the first that is there decides, so that the longer come before the shorter.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF-", "pdf"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),  # one without entries
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (257, b"ustar", "tar"),
    (0, b"II*\x00", "tiff"),
    (0, b"MM\x00*", "tiff"),
    (8, b"WEBP", "webp"),
    (8, b"WAVE", "wav"),
    (8, b"AVI ", "avi"),
    (4, b"ftyp", "mp4"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"ID3", "mp3"),
    (0, b"OggS", "ogg"),
    (0, b"fLaC", "flac"),
    (0, b"SQLite format 3\x00", "sqlite"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),  # the old Word, Excel and PowerPoint
    (0, b"{\\rtf", "rtf"),
    (0, b"\x7fELF", "elf"),
)
_RIFF = {"webp", "wav", "avi"}

_MARKERS_WITHOUT_SIZE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}

# A folder that a kind of office document always has.
_OFFICE: Mapping[bytes, str] = {b"word/": "docx", b"xl/": "xlsx", b"ppt/": "pptx"}
_MIMETYPES: Mapping[bytes, str] = {
    b"application/epub+zip": "epub",
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.spreadsheet": "ods",
    b"application/vnd.oasis.opendocument.presentation": "odp",
}


class CutOff(Exception):
    """The file begins as one of its kind, and ends before what each of that kind has."""


def recognise(head: bytes) -> str | None:
    """The kind of file that begins with `head`; None when no known one does."""
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset) and (kind not in _RIFF or head.startswith(b"RIFF")):
            return kind
    return None


def details(kind: str, head: bytes) -> Details:
    """What the header of a file of this kind tells; empty for kinds we only recognise. May raise CutOff."""
    reader = _READERS.get(kind)
    try:
        return reader(head) if reader else {}
    except struct.error:
        raise CutOff(f"the {kind} header is cut off") from None


def _pdf(head: bytes) -> Details:
    found = re.match(rb"%PDF-(\d\.\d)", head)
    return {"version": found[1].decode()} if found else {}


def _png(head: bytes) -> Details:
    width, height = struct.unpack_from(">II", head, 16)
    return {"width": width, "height": height}


def _gif(head: bytes) -> Details:
    width, height = struct.unpack_from("<HH", head, 6)
    return {"version": head[3:6].decode(), "width": width, "height": height}


def _jpeg(head: bytes) -> Details:
    """Walk the segments to the frame header; nothing when it lies further in than `head`."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _MARKERS_WITHOUT_SIZE:
            at += 2
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return {"width": width, "height": height}
        else:
            (size,) = struct.unpack_from(">H", head, at + 2)
            at += 2 + size
    return {}


def archive(head: bytes, tail: bytes) -> tuple[str, Details]:
    """What a ZIP file holds, and the number of its entries, from its two ends. May raise CutOff."""
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or end + 22 > len(tail):
        raise CutOff("the archive has no end record: it is cut off")
    (entries,) = struct.unpack_from("<H", tail, end + 10)
    # The greatest number stands for "too many for this field".
    return _archive_kind(head), {"entries": entries} if entries < 0xFFFF else {}


def _archive_kind(head: bytes) -> str:
    for mimetype, kind in _MIMETYPES.items():
        if head.startswith(b"mimetype" + mimetype, 30):
            return kind
    at = 0
    while (at := head.find(b"PK\x03\x04", at)) >= 0:
        at += 30
        for folder, kind in _OFFICE.items():
            if head.startswith(folder, at):
                return kind
    return "zip"


_READERS: Mapping[str, Callable[[bytes], Details]] = {"pdf": _pdf, "png": _png, "gif": _gif, "jpeg": _jpeg}
