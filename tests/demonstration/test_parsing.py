"""The parser is honest: it says what is there, never fails on anything, and does not care how bytes arrive."""

from __future__ import annotations

import io
import itertools
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox_api.demonstration.formats import _MAGIC as MAGIC
from outbox_api.demonstration.parsing import BLOCK, Parsed, parse
from tests.strategies import examples

MAGIC_BYTES = [b"\0" * offset + magic for offset, magic, _ in MAGIC]


def png(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def jpeg(width: int, height: int) -> bytes:
    exif = b"\xff\xe1" + struct.pack(">H", 60_000) + bytes(59_998)
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 3)
    return b"\xff\xd8" + exif + b"\xff" + frame + bytes(100)


def archived(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, f"contents of {name}")
    return file.getvalue()


def pdf(pages: int, padding: int = 0) -> bytes:
    kids = b"".join(b"<< /Type /Page /Parent 1 0 R >>\n" for _ in range(pages))
    return b"%PDF-1.7\n" + b" " * padding + b"<< /Type /Pages >>\n" + kids + b"%%EOF"


@pytest.mark.parametrize(
    ("contents", "kind", "details"),
    [
        (b"", "empty", {}),
        (pdf(3), "pdf", {"version": "1.7", "pages": 3}),
        (b"%PDF-1.5\nall in object streams", "pdf", {"version": "1.5"}),
        (png(640, 480), "png", {"width": 640, "height": 480}),
        (jpeg(640, 480), "jpeg", {"width": 640, "height": 480}),
        (b"\xff\xd8\xff\xd9", "jpeg", {}),
        (b"GIF89a" + struct.pack("<HH", 3, 2) + b";", "gif", {"version": "89a", "width": 3, "height": 2}),
        (archived("a.txt", "b.txt"), "zip", {"entries": 2}),
        (archived(), "zip", {"entries": 0}),
        (archived("[Content_Types].xml", "word/document.xml"), "docx", {"entries": 2}),
        (archived("[Content_Types].xml", "xl/workbook.xml"), "xlsx", {"entries": 2}),
        (b"\x1f\x8b\x08\x00rest", "gzip", {}),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "webp", {}),
        (b"words WEBP and more", "text", {"encoding": "utf-8", "lines": 1, "words": 4, "characters": 19}),
        (b"one two\nthree\n", "text", {"encoding": "utf-8", "lines": 2, "words": 3, "characters": 14}),
        ("ünï 🙂".encode(), "text", {"encoding": "utf-8", "lines": 1, "words": 2, "characters": 5}),
        (b"\xef\xbb\xbfbom", "text", {"encoding": "utf-8", "lines": 1, "words": 1, "characters": 3}),
        ("sechzehn\n".encode("utf-16"), "text", {"encoding": "utf-16", "lines": 1, "words": 1, "characters": 9}),
        (b"text, and then\x00", "binary", {}),
        (b"\x80\x81\x82", "binary", {}),
        ("cut 🙂".encode()[:-1], "binary", {}),
    ],
)
def test_what_it_says(contents: bytes, kind: str, details: dict[str, int | str]) -> None:
    assert parse([contents]) == Parsed(kind, len(contents), details)


def test_summary() -> None:
    assert parse([b"two words"]).summary() == {
        "kind": "text", "size": 9, "encoding": "utf-8", "lines": 1, "words": 2, "characters": 9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        (png(1, 1)[:20], "the png header is cut off"),
        (b"GIF89a\x01", "the gif header is cut off"),
        (archived("a.txt")[:-30], "the archive has no end record: it is cut off"),
    ],
    ids=["png", "gif", "zip"],
)
def test_what_is_cut_off_is_a_problem(contents: bytes, problem: str) -> None:
    assert parse([contents]).problem == problem
    assert parse([contents]).size == len(contents)


@pytest.mark.parametrize("at", range(-30, 3))
def test_pages_at_the_border_of_two_blocks(at: int) -> None:
    start = len(pdf(0)) - len(b"%%EOF")
    assert parse([pdf(2, padding=BLOCK - start + at)]).details["pages"] == 2


@given(st.binary(max_size=600), st.sampled_from([b"", *MAGIC_BYTES]))
@examples(100)
def test_it_never_raises(contents: bytes, start: bytes) -> None:
    parsed = parse([start + contents])
    assert parsed.size == len(start) + len(contents)
    assert parsed.kind


@given(st.text(max_size=200))
@examples(100)
def test_words_and_characters_are_those_of_python(text: str) -> None:
    parsed = parse([text.encode()])
    if parsed.kind == "text":
        visible = text.removeprefix("\ufeff")
        assert parsed.details["words"] == len(visible.split())
        assert parsed.details["characters"] == len(visible)


SAMPLES = [pdf(40), archived("word/a", "b"), "ein wörtchen 🙂 mit\nZeilen ".encode() * 40, png(3, 4) + bytes(900)]


@given(st.sampled_from(SAMPLES), st.lists(st.integers(0, 1000)))
@examples(100)
def test_chunks_change_nothing(contents: bytes, cuts: list[int]) -> None:
    points = sorted({0, len(contents), *(cut for cut in cuts if cut < len(contents))})
    chunks = [contents[a:b] for a, b in itertools.pairwise(points)]
    assert parse(chunks) == parse([contents])


@given(st.sampled_from(SAMPLES[:1] + SAMPLES[2:]), st.integers(24, 400))
@examples(100)
def test_blocks_change_nothing(contents: bytes, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        whole = parse([contents])
        patch.setattr("outbox_api.demonstration.parsing.BLOCK", block)
        assert parse([contents]) == whole


def test_memory_stays_flat() -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(64):
            yield b"a line of text, again and again\n" * 8192

    tracemalloc.start()
    try:
        assert parse(chunks()).size == 64 * 32 * 8192
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
