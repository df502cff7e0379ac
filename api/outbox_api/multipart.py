"""Multipart forms, taken apart while they come: nothing is kept but the piece at hand."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from outbox_api.errors import MalformedForm, NotAForm

MAX_HEADER_BYTES = 8 * 1024
_AS_IT_IS = frozenset({"", "binary", "8bit", "7bit"})

# What is wrong with a form is told to who sent it. The parser would also put it into our log, a line for each.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Part:
    """A part begins. `filename` is None when it is a field."""

    name: str
    filename: str | None
    content_type: str | None


@dataclass(frozen=True, slots=True)
class End:
    """The part that was begun last is complete."""


Piece = Part | bytes | End


async def pieces(body: AsyncIterator[bytes], content_type: str | None) -> AsyncIterator[Piece]:
    """The form's parts in their order, each as Part, any number of bytes, End. Raises NotAForm or MalformedForm."""
    form = _Form(_boundary(content_type))
    async for data in body:
        for piece in form.feed(data):
            yield piece
    if not form.complete:
        raise MalformedForm("the form ends before its last boundary")


def _boundary(content_type: str | None) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise NotAForm(content_type)
    if not options.get(b"boundary"):
        raise MalformedForm("Content-Type names no boundary")
    return options[b"boundary"]


class _Form:
    """Turns the parser's callbacks into pieces."""

    def __init__(self, boundary: bytes) -> None:
        self.complete = False
        self._pieces: list[Piece] = []
        self._headers: dict[str, str] = {}
        self._name = self._value = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": self._on_header_name,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": lambda: self._pieces.append(End()),
                    "on_end": self._on_end,
                },
                max_header_size=MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise MalformedForm(str(error)) from error

    def feed(self, data: bytes) -> list[Piece]:
        self._pieces = []
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise MalformedForm(f"the form cannot be read: {error}") from error
        return self._pieces

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        name = self._name.decode("latin-1").lower()
        if name in self._headers:  # which of the two counts, is for nobody to guess
            raise MalformedForm(f"a part has the header {name!r:.100} twice")
        self._headers[name] = self._value.decode("latin-1")
        self._name = self._value = b""

    def _on_headers(self) -> None:
        kind, options = parse_options_header(self._headers.get("content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise MalformedForm("a part has no Content-Disposition with a name")
        # RFC 7578 has done away with it. Stored as it comes, the file would not be the one that was sent.
        encoding = self._headers.get("content-transfer-encoding", "binary").strip()
        if encoding.lower() not in _AS_IT_IS:
            name = options[b"name"].decode(errors="replace")
            raise MalformedForm(
                f"part {name!r:.100} has Content-Transfer-Encoding {encoding!r:.100}: send its bytes as they are"
            )
        filename = options.get(b"filename")
        self._pieces.append(
            Part(
                options[b"name"].decode(errors="replace"),
                None if filename is None else filename.decode(errors="replace"),
                self._headers.get("content-type"),
            )
        )

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _on_end(self) -> None:
        self.complete = True
