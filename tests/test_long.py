"""The file of results has a place for each, and remembers those that were not run again."""

from __future__ import annotations

from pathlib import Path

from tests import documents, long


def test_each_run_has_its_last_result(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text("# Results\n\n<!-- runs -->\n<!-- end -->\nrest\n")
    for row in (
        ["mutations", "2026-01-02", "2", "FAILED (1)", "3 of 4 | noticed"],
        ["model", "2026-01-01", "1", "ok", "holds"],
        ["model", "2026-01-03", "1", "ok", "everything holds"],
    ):
        documents.put_row(results, "runs", long.HEAD, row, long.RUNS)
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
