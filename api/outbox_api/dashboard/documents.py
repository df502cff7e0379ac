"""The documents, as pages of the dashboard: whoever is on call reads what a finding means without another host.

They come with the package, and so are those of the version that runs.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

_PACKAGED = Path(__file__).parent.parent / "docs"
_REPOSITORY = Path(__file__).parents[3] / "docs"
"""Where they are in a checkout, of which an editable installation is a part."""

INDEX = "README"
_PAGE = re.compile(r"[A-Za-z][A-Za-z-]{0,63}")
"""A name that a file can have: it comes from an address, which may hold anything."""

_SCROLLS = '<div class="scroll" tabindex="0" role="group" aria-label="Table">'


def folder() -> Path:
    return _PACKAGED if _PACKAGED.is_dir() else _REPOSITORY


def read(name: str) -> str | None:
    """A page as HTML, by the name of its file without `.md`; None when there is none."""
    path = folder() / f"{name}.md"
    return _html(path) if _PAGE.fullmatch(name) and path.is_file() else None


@cache
def _html(path: Path) -> str:
    # Ours, and not a stranger's: what is HTML in it are names for links.
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    parser.add_render_rule("table_open", lambda *_: f"{_SCROLLS}<table>")
    parser.add_render_rule("table_close", lambda *_: "</table></div>")
    parser.add_render_rule("fence", _code)
    tokens = parser.parse(path.read_text(encoding="utf-8"))
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            before.attrSet("id", _anchor(token.content))
        if before.type == "th_open" and not token.content:
            before.tag = "td"  # nothing to be read aloud before each cell
        for inside in token.children or ():
            _lead(inside)
    for opened, closed in zip(_of(tokens, "th_open"), _of(tokens, "th_close"), strict=True):
        closed.tag = opened.tag
    return str(parser.renderer.render(tokens, parser.options, {}))


def _of(tokens: list[Token], kind: str) -> list[Token]:
    return [token for token in tokens if token.type == kind]


def _anchor(title: str) -> str:
    """As GitHub names a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _lead(token: Token) -> None:
    """A link to another page leads to ours; one to another file leads nowhere, and no picture is shown."""
    if token.type == "image":
        token.type, token.children = "text", None
        return
    address = str(token.attrGet("href") or "")
    if token.type != "link_open" or address.startswith(("#", "https://", "http://")):
        return
    page = re.fullmatch(r"([A-Za-z-]+)\.md(#.*)?", address)
    if page:
        token.attrSet("href", f"/dashboard/docs/{page[1]}{page[2] or ''}")
    else:
        token.attrs = {"class": "elsewhere"}


def _code(_: Any, tokens: list[Token], number: int, *__: Any) -> str:
    text = tokens[number].content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<pre tabindex="0"><code>{text}</code></pre>\n'
