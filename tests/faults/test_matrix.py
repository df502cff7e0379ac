"""The table that the matrix command prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.matrix import read, table, totals

REPORT = """<testsuites><testsuite>
<testcase classname="tests.faults.test_networks" name="test_replies_come_byte_by_byte[redis]"/>
<testcase classname="tests.faults.test_networks" name="test_connections_are_reset_at_random[redis]">
  <properties><property name="seed" value="7"/></properties></testcase>
<testcase classname="tests.faults.test_networks" name="test_{bad}"><{bad}/></testcase>
<testcase classname="tests.faults.test_durability" name="test_a_batch_counts">
  <properties><property name="lacks" value="WAITAOF"/></properties></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize("bad", ["failure", "error", "skipped"])
def test_what_came_of_each_scenario(tmp_path: Path, bad: str) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT.replace("{bad}", bad))
    outcomes = {"Redis 7": read(report), "Redis 8": read(report)[:1]}
    lines = table(outcomes).splitlines()
    assert lines[0] == "| fault | Redis 7 | Redis 8 |"
    assert "| a batch counts | ok, lacks WAITAOF | not run |" in lines
    assert "| replies come byte by byte (redis) | ok | ok |" in lines
    assert "| connections are reset at random (redis) | ok, seed 7 | not run |" in lines
    assert f"| {bad} | **FAILED** | not run |" in lines
    assert any(line.startswith("| **Bad networks") for line in lines)
    assert totals(outcomes).startswith("- Redis 7: 3 of 4 scenarios green")
