"""`python -m tests.lowest`: constraints for pip, with the lowest version that pyproject.toml allows of each dependency.

    python -m tests.lowest > lowest.txt
    python3 -m venv .lowest && .lowest/bin/pip install -e '.[test]'
    .lowest/bin/pip install -e '.[all,testing,faststream]' opentelemetry-sdk -c lowest.txt && .lowest/bin/pytest

What these depend on in turn is as new as it can be, and so are the tools of the tests. They are installed first: some
ask for newer ones than ours, and do without.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator

from tests.documents import ROOT

BESIDE = ("click==8.2.1",)
"""What ours depend on in turn: the newest warns of what the lowest typer uses, and warnings are errors in tests."""

OF_TESTS = {"test", "matrix", "testing"}
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[\w,-]+\])?(?P<bounds>[^;]*)(?P<marker>;.*)?")


def lowest() -> Iterator[str]:
    """A constraint for each dependency of the base install and of the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    yield from BESIDE
    extras = project["optional-dependencies"]
    lists = [project["dependencies"], *(extras[name] for name in extras.keys() - OF_TESTS)]
    for requirement in sorted({one for some in lists for one in some}):
        found = _REQUIREMENT.fullmatch(requirement)
        assert found, requirement
        bound = re.search(r"[>=]=([\w.]+)", found["bounds"])
        if found["name"] != project["name"]:
            assert bound, f"{requirement} has no lower bound"
            yield f"{found['name']}=={bound[1]}{found['marker'] or ''}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lowest())
