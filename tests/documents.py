"""The documents at the top of the project, read as data."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    """The text under a heading of the README."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section {title!r}"
    return found[1]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of `text`, each a list of its rows, without the heading: the cells as they are written."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [[[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()[2:]] for block in blocks]


def code(text: str, language: str) -> list[str]:
    """The fenced blocks of `text` in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def plain(cell: str) -> str:
    """A cell that is nothing but `code`, without its backticks."""
    return cell.strip("`")


def put(document: Path, name: str, text: str) -> None:
    """Replace what stands between the markers `<!-- name -->` and `<!-- end -->` of a document."""
    before, marker, rest = document.read_text().partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    assert marker, f"{document} has no marker {name!r}"
    assert end, f"{document} does not end what begins with {name!r}"
    document.write_text(f"{before}{marker}{text}\n{end}{after}")
