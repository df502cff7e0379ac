"""The documented table of metrics, the alert rules and the dashboard speak of the metrics that there are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from outbox.operations.stats import Waiting
from outbox.worker.metrics import InFlight
from outbox.worker.metrics import Metrics as WorkerMetrics
from outbox.worker.tries import Ended
from outbox_api.metrics import Metrics as ApiMetrics
from outbox_relay.backlog import Measured
from outbox_relay.metrics import Metrics as RelayMetrics
from tests.documents import PAGES, ROOT, anchors, plain, section, tables

FOLDER = ROOT / "relay" / "monitoring"
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
UNITS = {"seconds", "streams", "messages", "entries", "changes", "groups", "partitions", "relays", "requests", "tries"}
PROMTOOL = shutil.which("promtool")


async def _nothing(*_: object) -> None:
    """An application that answers nothing."""


def families() -> Iterable[Metric]:
    relay = RelayMetrics()
    relay.watch(lambda: {"mongodb": 0.0, "redis": 0.0})
    relay.observe(Measured(Waiting(0, 0, 0, None), {"file_parsing_queue": 0}))
    api = ApiMetrics(_nothing)
    for label in (("GET", "/files", "200"), ("GET", "/files")):
        getattr(api, "_requests" if len(label) == 3 else "_seconds").labels(*label)
    worker = WorkerMetrics(["parse"], lambda: [InFlight("parse", 1.0)])
    worker.tried("file_parsing_queue", "parse", Ended.COMPLETED, 0.1)
    registries: list[CollectorRegistry] = [relay.registry, api._registry, worker.registry]
    for registry in registries:
        yield from registry.collect()


def told(family: Metric) -> tuple[str, str, str]:
    labels = {name for sample in family.samples for name in sample.labels} - {"le"}
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return name, family.type, ", ".join(sorted(labels))


def series() -> set[str]:
    return {sample.name for family in families() for sample in family.samples}


def test_the_table_of_metrics() -> None:
    table, _ = tables(section("Metrics", "docs/operations.md"))
    rows = {(plain(name), kind, ", ".join(sorted(re.findall(r"`(\w+)`", labels)))) for name, kind, labels, _ in table}
    assert rows == {told(family) for family in families()}


def test_what_to_look_at_is_there() -> None:
    _, table = tables(section("Metrics", "docs/operations.md"))
    names = {name for seen, *_ in table for name in re.findall(r"\b(?:relay|api)_\w+", seen)}
    assert len(names) > 10
    assert names <= series() | {family.name for family in families()}


def test_names_carry_their_unit_and_labels_have_few_values() -> None:
    for family in families():
        assert family.name.rpartition("_")[2] in UNITS, family.name
        if family.name.startswith("relay_"):
            assert len({tuple(sample.labels.items()) for sample in family.samples if "le" not in sample.labels}) <= 3


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_speaks_of_metrics_there_are_and_says_what_to_do(rule: dict[str, Any]) -> None:
    names = set(re.findall(r"\b(?:relay|api|worker)_\w+", rule["expr"]))
    assert names
    assert names <= series()
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    page, _, section_ = rule["annotations"]["runbook_url"].partition("#")
    assert section_ in anchors(PAGES[page]), "whoever is called finds it explained"


def test_the_dashboard_speaks_of_metrics_there_are() -> None:
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 8
    for expression in expressions:
        names = set(re.findall(r"\b(?:relay|api)_\w+", expression))
        assert names
        assert names <= series(), expression


@pytest.mark.skipif(
    PROMTOOL is None and not os.environ.get("TESTS_SKIP_NOTHING"),
    reason="promtool is not installed: apt-get install prometheus",
)
@pytest.mark.parametrize("command", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")])
def test_with_promtool(command: tuple[str, ...]) -> None:
    assert PROMTOOL
    run = subprocess.run([PROMTOOL, *command], cwd=FOLDER, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_each_rule_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]
    fires: dict[str, set[bool]] = {}
    for case in cases:
        for asked in case["alert_rule_test"]:
            fires.setdefault(asked["alertname"], set()).add(bool(asked.get("exp_alerts")))
    assert fires == {rule["alert"]: {True, False} for rule in RULES}
