"""The file of results has a place for each, and remembers those that were not run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import documents, long


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "RESULTS.md"
    file.write_text("# Results\n\n<!-- runs -->\n<!-- end -->\nrest\n")
    monkeypatch.setattr(long, "RESULTS", file)
    return file


def test_each_run_has_its_last_result(results: Path) -> None:
    long._record("model", ["2026-01-01", "1", "ok", "holds"])
    long._record("mutations", ["2026-01-02", "2", "FAILED (1)", "3 of 4 | noticed"])
    long._record("model", ["2026-01-03", "1", "ok", "everything holds"])
    (table,) = documents.tables(results.read_text())
    assert table == [
        ["model", "2026-01-03", "1", "ok", "everything holds"],
        ["mutations", "2026-01-02", "2", "FAILED (1)", "3 of 4 / noticed"],
    ]
    assert results.read_text().endswith("<!-- end -->\nrest\n")


def test_the_files_of_results_have_their_places() -> None:
    text = (documents.ROOT / "tests/RESULTS.md").read_text()
    for name in ("runs", "explorer", "soak", "put back", "matrix"):
        assert f"<!-- {name} -->" in text
