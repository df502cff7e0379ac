"""The documents at the top of the project, read as data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
"""What users read, by path."""


def section(title: str, page: str) -> str:
    """The text under a heading of a page."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGES[page], re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {title!r}"
    return found[1]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of `text`, each a list of its rows, without the heading: the cells as they are written."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [[[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()[2:]] for block in blocks]


def code(text: str, language: str) -> list[str]:
    """The fenced blocks of `text` in a language."""
    return re.findall(rf"^```{language}(?: [^\n]*)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """What a link to a part of `text` may name: its headings, as GitHub makes names of them, and its `<a id>`."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    names = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    return names | set(re.findall(r'<a id="([^"]+)">', text))


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


def put_row(document: Path, name: str, head: str, row: list[str], order: Iterable[str]) -> None:
    """Replace one row of the table between those markers, or add it: known by its first cell, which `order` has."""
    between = document.read_text().partition(f"<!-- {name} -->\n")[2].partition("<!-- end -->")[0]
    cells = [cell.replace("|", "/") for cell in row]
    rows = {known[0]: known for table in tables(between) for known in table} | {row[0]: cells}
    put(document, name, head + "\n".join(f"| {' | '.join(rows[first])} |" for first in order if first in rows))
