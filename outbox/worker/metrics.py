"""The metrics of one worker process."""

from __future__ import annotations

from collections import Counter as Numbers
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from outbox.worker.tries import Ended

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800)


class InFlight(NamedTuple):
    """A message in flight: which handler has it, empty while none was chosen yet, and for how many seconds."""

    handler: str
    seconds: float


class Metrics:
    """What a worker has tried, and what it has in flight whenever somebody asks."""

    def __init__(self, handlers: Iterable[str], in_flight: Callable[[], Iterable[InFlight]]) -> None:
        self.registry = CollectorRegistry()
        self._tries = Counter(
            "worker_tries", "Messages tried, each time, by how it ended.", ["stream", "handler", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "worker_handler_seconds", "From the call of a handler to the commit of its message.", ["handler"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.registry.register(_Held(list(handlers), in_flight))

    def tried(self, stream: str, handler: str, ended: Ended, seconds: float) -> None:
        self._tries.labels(stream, handler, ended.value).inc()
        self._seconds.labels(handler).observe(seconds)


class _Held(Collector):
    def __init__(self, handlers: list[str], in_flight: Callable[[], Iterable[InFlight]]) -> None:
        self._handlers = handlers
        self._in_flight = in_flight

    def collect(self) -> Iterator[GaugeMetricFamily]:
        count: Numbers[str] = Numbers(dict.fromkeys(self._handlers, 0))
        oldest = dict.fromkeys(self._handlers, 0.0)
        for one in self._in_flight():
            count[one.handler] += 1
            oldest[one.handler] = max(oldest.get(one.handler, 0.0), one.seconds)
        messages = GaugeMetricFamily("worker_in_flight_messages", "Messages in flight now.", labels=["handler"])
        ages = GaugeMetricFamily(
            "worker_oldest_in_flight_seconds", "How long the oldest of them has been in flight.", labels=["handler"]
        )
        for handler in count:
            messages.add_metric([handler], count[handler])
            ages.add_metric([handler], oldest[handler])
        yield messages
        yield ages
