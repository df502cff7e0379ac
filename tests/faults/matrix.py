"""What came of each scenario on each server, read from pytest's own reports."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Outcome:
    """One scenario on one server. `lacks`: what the server cannot do, so that the scenario shows how that is told."""

    module: str
    name: str
    passed: bool
    seed: str | None
    lacks: str | None

    @property
    def cell(self) -> str:
        parts = ["ok" if self.passed else "**FAILED**"]
        if self.lacks:
            parts.append(f"lacks {self.lacks}")
        if self.seed:
            parts.append(f"seed {self.seed}")
        return ", ".join(parts)


def read(report: Path) -> list[Outcome]:
    """The scenarios in a report in JUnit's format. One that was skipped has not passed."""
    return [_outcome(case) for case in ElementTree.parse(report).iter("testcase")]


def _outcome(case: ElementTree.Element) -> Outcome:
    properties = {found.get("name"): found.get("value") for found in case.iter("property")}
    passed = not any(case.find(sign) is not None for sign in ("failure", "error", "skipped"))
    module = case.get("classname", "").rpartition(".")[2]
    return Outcome(module, case.get("name", ""), passed, properties.get("seed"), properties.get("lacks"))


def table(outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    """In Markdown: a row for each scenario, under the module's first sentence; a column for each server."""
    servers = list(outcomes)
    rows: defaultdict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for server, found in outcomes.items():
        for outcome in found:
            rows[outcome.module].setdefault(outcome.name, {})[server] = outcome.cell
    lines = [_line(["fault", *servers]), _line(["---"] * (1 + len(servers)))]
    for module in sorted(rows):
        lines.append(_line([f"**{_title(module)}**", *[""] * len(servers)]))
        for name, cells in sorted(rows[module].items()):
            lines.append(_line([_fault(name), *(cells.get(server, "not run") for server in servers)]))
    return "\n".join(lines)


def totals(outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    """One sentence a server."""
    return "\n".join(
        f"- {server}: {sum(o.passed for o in found)} of {len(found)} scenarios green"
        for server, found in outcomes.items()
    )


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _title(module: str) -> str:
    """Read, not imported: a module's imports may start something."""
    text = ast.get_docstring(ast.parse((FOLDER / f"{module}.py").read_text())) or module
    return text.split("\n")[0].partition(":")[0].rstrip(".")


def _fault(name: str) -> str:
    words, bracket, parameters = name.removeprefix("test_").partition("[")
    return words.replace("_", " ") + (f" ({parameters.rstrip(']')})" if bracket else "")
