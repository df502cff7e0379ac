"""One trace from the request to the worker, and none where nobody asked for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bson import ObjectId
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from outbox import traces
from outbox.message.document import Message

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(traces, "TRACER", provider.get_tracer("outbox"))
    yield exporter
    provider.shutdown()


def test_without_an_sdk_the_callers_trace_is_handed_on_as_it_is() -> None:
    with traces.appending({"traceparent": CALLER}) as headers:
        assert headers == {"traceparent": CALLER}
    for nothing in ({}, {"traceparent": "00-zz-1-01"}, {"tracestate": "a=b"}):
        with traces.appending(nothing) as headers:
            assert headers == {}
    traces.published("s", [_message(headers={"traceparent": CALLER})], 0)
    with traces.handling("s", {"traceparent": CALLER}, "id", 1):
        assert trace.get_current_span().get_span_context().trace_id == int(CALLER.split("-")[1], 16)


def test_append_publish_and_handle_are_one_trace(spans: InMemorySpanExporter) -> None:
    with traces.appending({"traceparent": CALLER}) as headers:
        pass
    traces.published("s", [_message(headers=headers), _message(headers={})], 1)
    with pytest.raises(ValueError, match="broken"), traces.handling("s", headers, "id", 2):
        raise ValueError("broken")
    append, publish, batch, handle = spans.get_finished_spans()
    assert [span.name for span in (append, publish, batch, handle)] == ["append", "publish", "publish batch", "handle"]
    mine = {span.context.trace_id for span in (append, publish, handle) if span.context}
    assert mine == {int(CALLER.split("-")[1], 16)}
    assert append.context
    for span in (publish, handle):
        assert span.parent
        assert span.parent.span_id == append.context.span_id
    assert batch.context
    assert publish.links[0].context.span_id == batch.context.span_id
    assert batch.attributes
    assert batch.attributes["messaging.batch.message_count"] == 2
    assert handle.status.description == "ValueError: broken"


def test_a_span_under_way_goes_before_the_caller(spans: InMemorySpanExporter) -> None:
    with traces.TRACER.start_as_current_span("request") as request:
        with traces.appending({"traceparent": CALLER}) as headers:
            pass
    assert f"{request.get_span_context().trace_id:032x}" in headers["traceparent"]


def _message(headers: dict[str, str]) -> Message:
    return Message(ObjectId(), "k", {"a": "b"}, headers, 0)
