"""What the source code can report: log events, findings, errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.documents import ROOT

PACKAGES = (ROOT / "outbox", ROOT / "relay" / "outbox_relay", ROOT / "api" / "outbox_api")
LEVELS = ("debug", "info", "warning", "error", "exception")
SERVERS = ("redis", "mongodb")


def trees(folder: Path) -> Iterator[ast.AST]:
    for path in sorted(folder.rglob("*.py")):
        yield ast.parse(path.read_text())


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args)


def texts(node: ast.expr) -> Iterator[str]:
    """What an expression can be, as far as it is text: of a formatted one, with each server for the variable."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from (*texts(body), *texts(orelse))
        case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=str(text))]):
            yield from (f"{server}{text}" for server in SERVERS)


def log_events() -> dict[str, set[str]]:
    """Events by level. A function that was chosen among several counts as both, as `write = log.error if … else …`."""
    found: dict[str, set[str]] = {level: set() for level in LEVELS}
    for folder in PACKAGES:
        for tree in trees(folder):
            for call in calls(tree):
                function = ast.unparse(call.func)
                if function == "write":
                    levels = ["warning", "error"]
                elif match := re.fullmatch(rf"(?:self\.)?_?log(?:ger)?\.({'|'.join(LEVELS)})", function):
                    levels = [match[1]]
                else:
                    continue
                for level in levels:
                    found[level] |= {text.removesuffix(": %s") for text in texts(call.args[0])}
    return found


def findings() -> set[str]:
    """The names of what `outbox verify` finds: the first argument of `Finding`, or of a function that makes one."""
    folder = ROOT / "outbox" / "operations" / "verify"
    makers = {"Finding", "_finding"}
    named = {text for tree in trees(folder) for call in calls(tree) if ast.unparse(call.func) in makers
             for text in texts(call.args[0])}  # fmt: skip
    return {name for name in named if re.fullmatch(r"[a-z]+(-[a-z]+)*", name)}
