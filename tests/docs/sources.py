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
NO_LOGS = {"client", "redis"}
"""Their `info` is a command of Redis."""
UNREAD = {
    "outbox/cli/signals.py": {"leaving at once", "not stopped in time, leaving"},
    "relay/outbox_relay/advice.py": set[str](),  # sentences about the servers, each of which is found elsewhere, too
}
"""What is logged as a warning or error in words that stand elsewhere, by module."""


def trees(folder: Path) -> Iterator[ast.AST]:
    for _, tree in modules(folder):
        yield tree


def modules(folder: Path) -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(folder.rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


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


def logged() -> Iterator[tuple[str, list[str], ast.expr]]:
    """Each call that logs, of whatever logger: its module, its levels, and what it says. A function that was chosen
    among several counts as both, as `write = log.error if … else …`."""
    for folder in PACKAGES:
        for module, tree in modules(folder):
            for call in calls(tree):
                match call.func:
                    case ast.Name(id="write") if [*texts(call.args[0])]:
                        yield module, ["warning", "error"], call.args[0]
                    case ast.Attribute(value=logger, attr=level) if level in LEVELS:
                        if ast.unparse(logger).rpartition(".")[2] not in NO_LOGS:
                            yield module, [level], call.args[0]


def log_events() -> dict[str, set[str]]:
    """Events by level."""
    found: dict[str, set[str]] = {level: set() for level in LEVELS}
    for _, levels, said in logged():
        for level in levels:
            found[level] |= {text.removesuffix(": %s") for text in texts(said)}
    found["warning"] |= set().union(*UNREAD.values())
    return found


def unread() -> set[str]:
    """Modules that log a warning or an error in words that cannot be read here."""
    return {module for module, levels, said in logged() if not {"debug", "info"} & {*levels} and not [*texts(said)]}


def findings() -> set[str]:
    """The names of what `outbox verify` finds: the first argument of `Finding`, or of a function that makes one."""
    folder = ROOT / "outbox" / "operations" / "verify"
    makers = {"Finding", "_finding"}
    named = {text for tree in trees(folder) for call in calls(tree) if ast.unparse(call.func) in makers
             for text in texts(call.args[0])}  # fmt: skip
    return {name for name in named if re.fullmatch(r"[a-z]+(-[a-z]+)*", name)}
