"""How much is measured: a full run, a quick one, and the smallest that still measures something."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extent:
    """Numbers of messages, and seconds for what is measured by time."""

    messages: int
    naive: int
    rates: tuple[int, ...]
    latency_seconds: float
    flow_rates: tuple[int, ...]
    flow_seconds: float
    writers: tuple[int, ...]
    transaction_seconds: float
    upload_seconds: float
    outage_seconds: float
    scale_messages: int
    retained: tuple[int, ...]
    pending: tuple[int, ...]
    partitions: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    message_bytes: tuple[int, ...]
    relays: tuple[int, ...]
    large_bytes: tuple[int, ...]
    large_megabytes: int
    idle_seconds: float
    memory_messages: int
    worker_messages: int
    worker_rounds: int


FULL = Extent(
    messages=100_000,
    naive=2_000,
    rates=(1, 100, 500),
    latency_seconds=6,
    flow_rates=(20, 100, 300, 500),
    flow_seconds=8,
    writers=(1, 4, 16, 64),
    transaction_seconds=1.5,
    upload_seconds=2.5,
    outage_seconds=2,
    scale_messages=50_000,
    retained=(10_000, 100_000, 1_000_000, 2_000_000),
    pending=(10_000, 100_000),
    partitions=(1, 4, 16),
    batch_sizes=(100, 500, 2_000),
    message_bytes=(200, 2_000, 64_000),
    relays=(1, 2, 4),
    large_bytes=(2_000, 64_000),
    large_megabytes=250,
    idle_seconds=60,
    memory_messages=1_000_000,
    worker_messages=3_000,
    worker_rounds=3,
)
QUICK = Extent(
    messages=30_000,
    naive=500,
    rates=(100,),
    latency_seconds=3,
    flow_rates=(100, 300),
    flow_seconds=4,
    writers=(1, 16),
    transaction_seconds=0.6,
    upload_seconds=1,
    outage_seconds=1,
    scale_messages=15_000,
    retained=(10_000, 100_000),
    pending=(10_000,),
    partitions=(1, 4),
    batch_sizes=(100, 500),
    message_bytes=(200, 64_000),
    relays=(1, 4),
    large_bytes=(64_000,),
    large_megabytes=100,
    idle_seconds=4,
    memory_messages=100_000,
    worker_messages=1_000,
    worker_rounds=2,
)
SMALLEST = Extent(
    messages=1_500,
    naive=50,
    rates=(50,),
    latency_seconds=0.4,
    flow_rates=(50,),
    flow_seconds=0.4,
    writers=(2,),
    transaction_seconds=0.1,
    upload_seconds=0.1,
    outage_seconds=0.3,
    scale_messages=1_000,
    retained=(100, 1_000),
    pending=(),
    partitions=(),
    batch_sizes=(),
    message_bytes=(200,),
    relays=(1, 2),
    large_bytes=(64_000,),
    large_megabytes=1,
    idle_seconds=0.5,
    memory_messages=3_000,
    worker_messages=100,
    worker_rounds=1,
)
