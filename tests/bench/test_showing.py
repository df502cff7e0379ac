"""What is made of runs: medians, targets, tables, pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from outbox.bench.result import Figure, Limit, Run
from outbox.bench.summary import number, summarized
from outbox.bench.targets import TARGETS, reached
from outbox.cli import main


def _a_run(drain: float, bare: float = 40_000, retained: tuple[float, ...] = (9, 10, 8.5)) -> Run:
    figures = (
        Figure("drain", "one relay", drain, "messages/s", (Limit("bare update_many", bare), Limit("naive relay", 500))),
        Figure("drain", "two relays", drain, "messages/s", (Limit("one relay", drain), Limit("naive relay", 500))),
        Figure("latency", "100/s p50", 6, "ms", (Limit("change stream + XADD", 5),)),
        *(
            Figure("scale", f"retained {10**n:,}", rate, "messages/s", (Limit("fewest", retained[0]),))
            for n, rate in enumerate(retained, 4)
        ),
    )
    return Run("outbox bench", "2026-01-02T03:04:05", 400, {"cpu": "2 × EPYC"}, {"mongodb": "6.0"}, figures)


def test_the_median_counts_and_the_spread_is_told() -> None:
    first = summarized([_a_run(30_000), _a_run(10_000), _a_run(20_000, bare=50_000)])[0]
    assert (first.lowest, first.figure.value, first.highest) == (10_000, 20_000, 30_000)
    assert first.figure.limits[0] == Limit("bare update_many", 40_000)


def test_a_target_is_the_median_of_ratios_each_taken_within_its_run() -> None:
    runs = [_a_run(20_000, bare=20_000), _a_run(20_000, bare=40_000), _a_run(36_000, bare=40_000)]
    drain = next(one for one in reached(runs) if one.target.text.startswith("drain ≥ 0.8"))
    assert (drain.lowest, drain.value, drain.highest) == (0.5, 0.9, 1.0)
    assert drain.met


def test_the_worst_of_several_figures_counts() -> None:
    runs = [_a_run(20_000, retained=(10, 10, 8.5))]
    retained = next(one for one in reached(runs) if "retained" in one.target.text)
    assert retained.value == 0.85
    assert not retained.met


def test_a_target_is_about_whole_words() -> None:
    limits = (Limit("bare loop", 1),)
    figures = (Figure("flow", "300/s p99", 2, "ms", limits), Figure("flow", "300/s p99.9", 20, "ms", limits))
    told = {one.target.name: one.value for one in reached([replace(_a_run(1), figures=figures)])}
    assert told == {"300/s p99": 2}


def test_only_what_was_measured_is_a_target_reached() -> None:
    one = replace(_a_run(1), figures=(Figure("idle", "CPU", 0.2, "%", (Limit("no relay", 0),)),))
    assert [r.target.text for r in reached([one])] == ["idle: ≤ 0.4 % CPU"]
    assert len(TARGETS) > 10


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.01234, "0.0123"), (12.34, "12.3"), (123.4, "123"), (22_634, "22,600"), (1_234_567, "1,230,000")],
)
def test_three_digits_count(value: float, shown: str) -> None:
    assert number(value) == shown


def _written(folder: Path, *rates: float) -> list[str]:
    options = []
    for rate in rates:
        path = folder / f"{rate}.json"
        path.write_text(json.dumps({**_a_run(rate).as_json(), "targets": []}))
        options += ["--from", str(path)]
    return options


def _bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_several_files_as_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = _bench(capsys, "--markdown", *_written(tmp_path, 10_000, 20_000, 30_000))
    assert "Medians of 3 runs of `outbox bench`, 2026-01-02: 2 × EPYC; mongodb 6.0." in out
    figure = "drain, one relay | 20,000 messages/s (10,000–30,000) | bare update_many 40,000, naive relay 500"
    assert (
        f"| {figure} | drain ≥ 0.8 × bare update_many; drain ≥ 30 × the naive relay | 0.5: **not met**; 40: met |"
        in out
    )


def test_a_file_as_table_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = _written(tmp_path, 35_000)
    assert "35,000 messages/s" in _bench(capsys, *options)
    again = json.loads(_bench(capsys, "--json", *options))
    assert Run.read(again) == _a_run(35_000)
    assert {target["target"]: target["met"] for target in again["targets"]}["drain ≥ 0.8 × bare update_many"]


@pytest.mark.parametrize(("name", "begins"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml")])
def test_pictures(name: str, begins: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _bench(capsys, "--plot", str(tmp_path / name), *_written(tmp_path, 10_000, 20_000))
    assert (tmp_path / name).read_bytes().startswith(begins)
