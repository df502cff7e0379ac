"""Which resource binds first at a given rate: costs of a message, as measured, against what one of each can give.

A calculation and no measurement: `python -m outbox.bench.capacity --rate 1000000 --relays 64`. Costs are processor
time, from drains in which the servers, the relay and the bench shared two cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import typer

from outbox.cli.output import write_table


@dataclass(frozen=True, slots=True)
class Resource:
    """`micros` of one core a message; one `unit` has so many cores that can work on messages."""

    name: str
    unit: str
    micros: float
    cores: int

    def needed(self, rate: float) -> int:
        """How many units carry `rate` messages a second, with a quarter of each to spare."""
        return math.ceil(rate * self.micros / 1e6 / (self.cores * 0.75))


def resources(write: float, mark: float, relay: float, redis: float, cores: int) -> list[Resource]:
    return [
        Resource("MongoDB: write and mark", f"shards of {cores} cores", write + mark, cores),
        Resource("relay", "processes", relay, 1),
        Resource("Redis: script", "nodes, with a stream each", redis, 1),
    ]


def capacity(
    rate: Annotated[float, typer.Option(help="Messages a second, appended and drained.")] = 1e6,
    relays: Annotated[int, typer.Option(help="Relay processes.")] = 64,
    cores: Annotated[int, typer.Option(help="Cores of one MongoDB shard's primary.")] = 16,
    write: Annotated[float, typer.Option(help="µs of MongoDB to insert a message.")] = 30,
    mark: Annotated[float, typer.Option(help="µs of MongoDB to fetch and mark it.")] = 40,
    relay: Annotated[float, typer.Option(help="µs of a relay.")] = 19,
    redis: Annotated[float, typer.Option(help="µs of Redis.")] = 7,
    batch: Annotated[int, typer.Option(help="Messages in a batch.")] = 500,
    round_ms: Annotated[float, typer.Option(help="From one batch of a partition to its next.")] = 15,
) -> None:
    """Show how many of each resource a rate needs; the one of which most is needed binds first."""
    found = resources(write, mark, relay, redis, cores)
    rows: list[list[object]] = [
        [one.name, one.micros, one.needed(rate), one.unit, round(1e6 / one.micros) * one.cores] for one in found
    ]
    one_partition = batch / (round_ms / 1000)
    rows.append(["batches on their way", None, math.ceil(rate / one_partition), "partitions", round(one_partition)])
    write_table(f"{rate:,.0f} messages/s", ["resource", "µs a message", "needed", "of", "one gives, a second"], rows)
    enough = relays >= found[1].needed(rate)
    typer.echo(f"{relays} relays are {'enough' if enough else 'too few'}: {found[1].needed(rate)} are needed.")


if __name__ == "__main__":
    typer.run(capacity)
