"""Shapes: what is the same in two worlds that differ only in the names of their tokens, tags and markers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.conformance.mapping import NAMED
from tests.model.world import UNKNOWN, Do, Lease, Message, Redis, Relay, State, World

Shape = dict[str, Any]


def shape(world: World) -> Shape:
    """Tokens by their order, tags and markers by their first appearance."""
    return _Names(world).shape(world)


def differences(model: Shape, real: Shape) -> Iterable[str]:
    for name, expected in model.items():
        if real[name] != expected:
            yield f"{name}: the model has {expected}"
            yield f"{' ' * len(name)}  really it is {real[name]}"


class _Names:
    def __init__(self, world: World) -> None:
        tokens = {0, *_tokens(world)}
        self._tokens = {token: number for number, token in enumerate(sorted(tokens))}
        self._tags: dict[Any, int] = {}
        self._markers: dict[Any, int] = {}

    def shape(self, world: World) -> Shape:
        backup = world.backup
        return {
            "lease": self._lease(world.lease),
            "messages": self._messages(world.messages),
            "redis": self._redis(world.redis),
            "saved": self._redis(world.saved),
            "relays": sorted(self._relay(relay) for relay in world.relays),
            "flying": sorted(self._tokens[relay.token] for relay in world.flying),
            "backup": backup and (self._messages(backup[0]), self._lease(backup[1])),
        }

    def _lease(self, lease: Lease) -> Any:
        return self._tokens[lease.token], self._position(lease.position), tuple(sorted(lease.intent))

    def _messages(self, messages: Iterable[Message]) -> Any:
        return [
            (str(m.state), m.attempt, self._position(m.at) if m.state is State.PUBLISHED else None, m.settled,
             self._tokens[m.fence])
            for m in messages
        ]  # fmt: skip

    def _redis(self, redis: Redis | None) -> Any:
        if redis is None:
            return None
        there = redis.checkpoint
        checkpoint = there and (
            self._tokens[there.token],
            self._position(there.position),
            self._position(there.before) if there.before != UNKNOWN else None,
            there.entries,
            self._marker(there.marker),
        )
        return redis.stream, self._marker(redis.marker), checkpoint

    def _relay(self, relay: Relay) -> Any:
        token, request = relay
        named = request.entries if request.do in NAMED else ()
        shown = -1 if request.tail is None else len(request.tail)
        return (
            self._tokens[token],
            str(request.do),
            tuple(sorted(set(named))) if request.do is Do.FENCE else named,
            shown,
        )

    def _position(self, position: Any) -> Any:
        return position[0], self._tags.setdefault(position, len(self._tags))

    def _marker(self, marker: Any) -> int:
        return 1 + self._markers.setdefault(marker, len(self._markers)) if marker else 0


def _tokens(world: World) -> Iterable[int]:
    for messages, lease in ((world.messages, world.lease), *([world.backup] if world.backup else [])):
        yield lease.token
        yield from (message.fence for message in messages)
    for redis in (world.redis, world.saved):
        if redis and redis.checkpoint:
            yield redis.checkpoint.token
    yield from (relay.token for relay in world.relays + world.flying)
