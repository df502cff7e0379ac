"""The trace a request belongs to, handed on with its messages."""

from __future__ import annotations

from fastapi import Request
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()


def headers(request: Request) -> dict[str, str]:
    """`traceparent` for the messages of this request: the span under way here, or the caller's. Empty without either.

    What the caller sent is taken apart and written anew, so that nothing but a valid one comes through.
    """
    carrier: dict[str, str] = {}
    if trace.get_current_span().get_span_context().is_valid:
        _PROPAGATOR.inject(carrier)
    else:
        _PROPAGATOR.inject(carrier, _PROPAGATOR.extract(dict(request.headers)))
    return {name: value for name, value in carrier.items() if name == "traceparent"}
