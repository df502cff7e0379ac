"""Traces: one from the request through append and publish to the worker, held together by `traceparent`.

Only the OpenTelemetry API is used here, so that without an SDK all of this does next to nothing. Who wants traces
starts the programs with one, by `opentelemetry-instrument` for example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from outbox.message.document import Message

TRACER = trace.get_tracer("outbox")
_PROPAGATOR = TraceContextTextMapPropagator()


def extract(headers: Mapping[str, str]) -> Context:
    """The context that `traceparent` in a request's or message's headers, or an entry's fields, tells of.

    For workers not built on our consumer: `with tracer.start_as_current_span("parse", context=extract(fields)):`.
    """
    return _PROPAGATOR.extract(dict(headers))


@contextmanager
def appending(headers: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A span around what appends; gives the headers for its messages, none where there is no trace.

    It belongs to the span under way here, or else to the caller's, of which nothing but a valid one comes through.
    """
    within = trace.get_current_span().get_span_context().is_valid
    with TRACER.start_as_current_span("append", None if within else extract(headers), SpanKind.PRODUCER):
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        yield {name: value for name, value in carrier.items() if name == "traceparent"}


def published(stream: str, messages: Sequence[Message], began: int) -> None:
    """Tell of a batch that was published: a span of its own, and one for each message in that message's trace.

    :param began: when, in nanoseconds since 1970.
    """
    batch = TRACER.start_span("publish batch", Context(), SpanKind.PRODUCER, start_time=began)
    if batch.is_recording():
        batch.set_attributes(_about(stream) | {"messaging.batch.message_count": len(messages)})
        for message in messages:
            context = extract(message.headers)
            if trace.get_current_span(context).get_span_context().is_valid:
                told = _about(stream, str(message.id), message.attempts + 1)
                links = [Link(batch.get_span_context())]
                TRACER.start_span("publish", context, SpanKind.PRODUCER, told, links, start_time=began).end()
    batch.end()


@contextmanager
def handling(stream: str, headers: Mapping[str, str], id_: str, attempt: int) -> Iterator[None]:
    """A span around a worker's handler, in the trace of its message. An error that leaves it is recorded."""
    if "traceparent" not in headers and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield  # there is no SDK that would take a span, and no trace that the handler could go on with
        return
    about = _about(stream, id_, attempt)
    with TRACER.start_as_current_span("handle", extract(headers), SpanKind.CONSUMER, about):
        yield


def _about(stream: str, id_: str | None = None, attempt: int | None = None) -> dict[str, str | int]:
    told: dict[str, str | int] = {"messaging.system": "redis", "messaging.destination.name": stream}
    if id_ is not None and attempt is not None:
        told |= {"messaging.message.id": id_, "outbox.attempt": attempt}
    return told
