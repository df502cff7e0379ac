"""The health and the metrics of several worker processes as one: each of them is asked whenever somebody asks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from outbox.worker.probes import Health, exposition_of

SECONDS = 2.0
"""How long one may take to answer, until it counts as away: its parent starts it again."""


def health(ports: Sequence[int]) -> Health:
    """Of processes that answer at these ports of this machine."""
    registry = CollectorRegistry()
    registry.register(_Merged(ports))

    def ready() -> dict[str, Any]:
        states = {str(number): json.loads(text or "{}") for number, text in enumerate(_ask(ports, "/readyz"))}
        waiting = [f"process {number}: {', '.join(state['waiting_for'])}" for number, state in states.items()
                   if state.get("waiting_for")]  # fmt: skip
        waiting += [f"process {number}: no answer" for number, state in states.items() if not state]
        return {"waiting_for": waiting, "processes": states}

    # A process that ends is started again, and one that is stuck is killed, by those who look after them.
    return Health(lambda: True, ready, exposition_of(registry))


class _Merged(Collector):
    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for number, text in enumerate(_ask(self._ports, "/metrics")):
            for family in text_string_to_metric_families(text or ""):
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                merged.samples += [
                    Sample(one.name, {**one.labels, "process": str(number)}, one.value) for one in family.samples
                ]
        yield from families.values()


def _ask(ports: Sequence[int], path: str) -> list[str | None]:
    with ThreadPoolExecutor(len(ports)) as pool:
        return list(pool.map(lambda port: _answer(port, path), ports))


def _answer(port: int, path: str) -> str | None:
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
