"""The relay's metrics, fed at one place from the values that passes return."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from relay.drainer import Drained
from relay.leaser import Leased
from relay.rescuer import Rescued
from relay.service import Pass
from relay.trimmer import Round

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one relay process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._published = Counter("relay_published_messages", "Messages published and marked.", registry=self.registry)
        self._buried = Counter("relay_dead_messages", "Messages that could not be sent.", registry=self.registry)
        self._recovered = Counter("relay_recovered_messages", "Messages that Redis lost.", registry=self.registry)
        self._rescued = Counter(
            "relay_rescued_messages", "Messages that were stuck at a worker, by what became of them.", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._batch = Histogram(
            "relay_batch_seconds", "From fetch to mark, for passes that published.", registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )  # fmt: skip
        self._trimmed = Counter(
            "relay_trimmed_entries", "Acknowledged entries that left Redis.", registry=self.registry
        )
        self._abandoned = Gauge(
            "relay_abandoned_groups", "Groups that hold up trimming, or are ignored.", registry=self.registry
        )
        self._held = Gauge("relay_partitions", "Partitions that this relay holds.", registry=self.registry)
        self._changes = Counter(
            "relay_lease_changes", "Leases acquired, lost, given back.", ["change"], registry=self.registry
        )

    def observe(self, result: Pass) -> None:
        match result:
            case Drained():
                self._published.inc(result.published)
                self._buried.inc(result.buried)
                if result.published:
                    self._batch.observe(result.seconds)
                if result.reconciled:
                    self._recovered.inc(result.reconciled.recovered)
            case Round():
                self._trimmed.inc(result.removed)
                self._abandoned.set(result.abandoned)
            case Rescued():
                for outcome in ("rescued", "dead", "settled"):
                    self._rescued.labels(outcome).inc(getattr(result.found, outcome))
            case Leased():
                self._held.set(result.held)
                for change in ("acquired", "lost", "given_back"):
                    self._changes.labels(change).inc(getattr(result, change))

    def exposition(self) -> bytes:
        return generate_latest(self.registry)
