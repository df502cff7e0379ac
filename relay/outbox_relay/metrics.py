"""The relay's metrics, fed at one place from the values that passes return.

Labels have few values, and each is there from the start, so that a rate does not begin in the middle of an incident.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from outbox.message.outcome import Found
from outbox_relay.backlog import Measured
from outbox_relay.drained import Drained
from outbox_relay.leaser import Leased
from outbox_relay.pausing import Looked
from outbox_relay.replays import Replayed
from outbox_relay.rescuer import Rescued
from outbox_relay.service import Pass
from outbox_relay.trimmer import Round

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_OUTCOMES = ("rescued", "dead", "settled")
_CHANGES = ("acquired", "lost", "given_back")
_WAITING = ("scheduled", "pending", "dead")


class Metrics:
    """What one relay process has done, and what it sees waiting."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._published = self._counter("relay_published_messages", "Messages published, each time.")
        self._marked = self._counter("relay_marked_messages", "Messages found published and unmarked.")
        self._buried = self._counter("relay_dead_messages", "Messages that could not be sent.")
        self._recovered = self._counter("relay_recovered_messages", "Messages that Redis lost, pending again.")
        self._rescued = self._counter(
            "relay_rescued_messages", "Messages that were stuck at a worker, by what became of them.",
            outcome=_OUTCOMES,
        )  # fmt: skip
        self._replayed = self._counter("relay_replayed_messages", "Messages made pending again by replays.")
        self._trimmed = self._counter("relay_trimmed_entries", "Acknowledged entries that left Redis.")
        self._held_back = self._counter(
            "relay_held_back_seconds", "Waited for workers, because a stream was full, all partitions together."
        )
        self._changes = self._counter("relay_lease_changes", "Leases acquired, lost, given back.", change=_CHANGES)
        self._abandoned = self._gauge("relay_abandoned_groups", "Groups that hold up trimming, or are ignored.")
        self._held_entries = self._gauge(
            "relay_held_entries", "Entries that consumers hold for long without a sign of life."
        )
        self._held = self._gauge("relay_partitions", "Partitions that this relay holds.")
        self._relays = self._gauge("relay_live_relays", "Relays alive, as this one sees them.")
        self._oldest = self._gauge("relay_oldest_pending_seconds", "How long the oldest pending message waits.")
        self._waiting = self._gauge("relay_waiting_messages", "Messages in MongoDB, by state.", state=_WAITING)
        self._paused = self._gauge("relay_paused_streams", "Streams that an operator has paused.")
        self._undelivered = Gauge(
            "relay_undelivered_entries", "Entries in Redis that no worker has been given yet.", ["stream"],
            registry=self.registry,
        )  # fmt: skip
        self._batch = self._histogram("relay_batch_seconds", "From fetch to mark, for passes that published.", _SECONDS)
        self._size = self._histogram("relay_batch_messages", "Messages in a batch.", _SIZES)
        self._latency = self._histogram(
            "relay_publish_latency_seconds", "From append to entry, of the oldest new message of each batch.", _LATENCY
        )

    def watch(self, outages: Callable[[], Mapping[str, float]]) -> None:
        """Tell how long each server has been away, the present outage included, whenever somebody asks."""
        self.registry.register(_Outages(outages))

    def observe(self, result: Pass) -> None:
        match result:
            case Drained():
                self._drained(result)
            case Round():
                self._trimmed.inc(result.removed)
                self._abandoned.set(result.abandoned)
                self._count(result.found)
            case Rescued():
                self._count(result.found)
                self._held_entries.set(sum(result.held.values()))
            case Replayed():
                self._replayed.inc(result.replayed)
            case Measured():
                self._oldest.set(result.waiting.oldest_pending_seconds or 0)
                for state in _WAITING:
                    self._waiting.labels(state).set(getattr(result.waiting, state))
                self._undelivered.clear()  # an old number would scale workers on what is long gone
                for stream, entries in result.undelivered.items():
                    self._undelivered.labels(stream).set(entries)
            case Looked():
                self._paused.set(result.paused)
            case Leased():
                self._held.set(result.held)
                self._relays.set(result.relays)
                for change in _CHANGES:
                    self._changes.labels(change).inc(getattr(result, change))

    def _drained(self, result: Drained) -> None:
        self._published.inc(result.published)
        self._buried.inc(result.buried)
        self._held_back.inc(result.held_back)
        if result.published:
            self._batch.observe(result.seconds)
            self._size.observe(result.published)
        if result.latency is not None:
            self._latency.observe(result.latency)
        if result.reconciled:
            self._marked.inc(result.reconciled.marked)
            self._recovered.inc(result.reconciled.recovered)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)

    def _count(self, found: Found) -> None:
        for outcome in _OUTCOMES:
            self._rescued.labels(outcome).inc(getattr(found, outcome))

    def _counter(self, name: str, text: str, **labels: tuple[str, ...]) -> Counter:
        counter = Counter(name, text, list(labels), registry=self.registry)
        for value in next(iter(labels.values()), ()):
            counter.labels(value)
        return counter

    def _gauge(self, name: str, text: str, **labels: tuple[str, ...]) -> Gauge:
        gauge = Gauge(name, text, list(labels), registry=self.registry)
        for value in next(iter(labels.values()), ()):
            gauge.labels(value)
        return gauge

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, registry=self.registry, buckets=buckets)


class _Outages(Collector):
    def __init__(self, seconds: Callable[[], Mapping[str, float]]) -> None:
        self._seconds = seconds

    def collect(self) -> Iterator[CounterMetricFamily]:
        text = "Time in which a server did not do as asked."
        family = CounterMetricFamily("relay_outage_seconds", text, labels=["server"])
        for server, seconds in self._seconds().items():
            family.add_metric([server], seconds)
        yield family
