"""Trace context: what the standard takes, requests in the session's trace, OpenTelemetry's spans."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import navit_edge as ne
from navit_edge.serve.inference import infer
from navit_edge.serve.limits import Limits
from navit_edge.serve.repository import Repository
from navit_edge.serve.request import InferRequest
from navit_edge.serve.tracing import ModelTracing, Spans, TraceContext, opentelemetry_spans, read_trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = TraceContext(trace_id=TRACE, parent_id=SPAN, sampled=True)
HAS_SDK = importlib.util.find_spec("opentelemetry") is not None and importlib.util.find_spec("opentelemetry.sdk")


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", GIVEN),
        (f" 00-{TRACE}-{SPAN}-01 ", GIVEN),
        (f"00-{TRACE}-{SPAN}-00", TraceContext(trace_id=TRACE, parent_id=SPAN, sampled=False)),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", GIVEN),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        ("", None),
        (None, None),
    ],
)
def test_a_traceparent_is_read_as_the_standard_says(traceparent: str | None, expected: TraceContext | None) -> None:
    assert read_trace_context(traceparent) == expected


@given(st.text(max_size=80), st.text(max_size=600))
def test_no_header_raises(traceparent: str, tracestate: str) -> None:
    read_trace_context(traceparent, tracestate)
    found = read_trace_context(f"00-{TRACE}-{SPAN}-01", tracestate)
    assert found is not None
    assert found.state in ("", tracestate)


def test_a_request_is_in_the_trace_of_its_session_with_its_images_and_who_asked(job_bundle: Path) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    with ne.Session(job_bundle, threads=1) as session:
        tracing = ModelTracing("tiny")
        with tracing.request(GIVEN):
            pass  # before the trace
        tracing.start(session)
        with tracing.request(GIVEN) as span:
            futures = [session.submit(image) for _ in range(3)]
            span.images += [future._id for future in futures]
            for future in futures:
                future.result()
        with pytest.raises(ValueError, match="wrong"), tracing.request(None):
            raise ValueError("wrong")
        trace = tracing.stop(session)
    requests = [event for event in trace["traceEvents"] if event.get("cat") == "request"]
    assert [event["ph"] for event in requests] == ["b", "e", "b", "e"]
    first, second = requests[0]["args"], requests[2]["args"]
    assert (first["trace_id"], first["parent_id"]) == (TRACE, SPAN)
    assert first["span_id"] != SPAN
    assert second == {"images": [], "error": "ValueError"}
    queued = {e["args"]["image"]: e["ts"] for e in trace["traceEvents"] if e["name"] == "queue" and e["ph"] == "b"}
    assert set(first["images"]) == set(queued)
    for at in queued.values():  # by the session's own clock, which began with the trace
        assert requests[0]["ts"] - 1e5 <= at <= requests[1]["ts"] + 1e5


def test_a_model_that_is_closed_leaves_its_trace_in_a_file_and_of_several_each_has_its_own(
    job_bundle: Path, tmp_path: Path
) -> None:
    async def ask(*names: str) -> None:
        repository = Repository(dict.fromkeys(names, job_bundle), limits=Limits(), trace_file=tmp_path / "t.json")
        await repository.load()
        for name in names:
            await infer(repository.model(name), InferRequest(images=[np.zeros((8, 8, 3), np.uint8)], trace=GIVEN))
        await repository.close()

    asyncio.run(ask("tiny"))
    asyncio.run(ask("a", "b"))
    for file in ("t.json", "t.a.json", "t.b.json"):
        events = json.loads((tmp_path / file).read_text())["traceEvents"]
        (request,) = [one for one in events if one["name"] == "request" and one["ph"] == "b"]
        (queued,) = [one for one in events if one["name"] == "queue" and one["ph"] == "b"]
        assert request["args"]["trace_id"] == TRACE
        assert request["args"]["images"] == [queued["args"]["image"]]


@pytest.mark.skipif(not HAS_SDK, reason="the SDK of OpenTelemetry is not installed")
def test_spans_of_opentelemetry_continue_the_callers_trace() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import SpanKind, StatusCode

    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = ModelTracing("tiny", Spans(provider.get_tracer("test")))
    with tracing.request(TraceContext(trace_id=TRACE, parent_id=SPAN, sampled=True, state="vendor=1")) as span:
        span.attributes["queue_us"] = 12
    with pytest.raises(ne.InvalidInputError), tracing.request(None):
        raise ne.InvalidInputError("no image")
    provider.shutdown()
    continued, own = exporter.get_finished_spans()
    assert f"{continued.context.trace_id:032x}" == TRACE
    assert f"{continued.parent.span_id:016x}" == SPAN
    assert f"{continued.context.span_id:016x}" == span.span_id
    assert continued.context.trace_state["vendor"] == "1"
    assert continued.kind == SpanKind.SERVER
    assert dict(continued.attributes) == {"navit_edge.model": "tiny", "navit_edge.queue_us": 12}
    assert own.parent is None
    assert (own.status.status_code, own.status.description) == (StatusCode.ERROR, "InvalidInputError")


@pytest.mark.skipif(not HAS_SDK, reason="the SDK of OpenTelemetry is not installed")
def test_without_an_exporter_there_are_no_spans_and_an_unknown_one_is_refused() -> None:
    assert opentelemetry_spans({}) is None
    assert opentelemetry_spans({"OTEL_TRACES_EXPORTER": "none"}) is None
    with pytest.raises(ne.InvalidInputError, match="'zipkin'; expected console, otlp or none"):
        opentelemetry_spans({"OTEL_TRACES_EXPORTER": "zipkin"})
    if importlib.util.find_spec("opentelemetry.exporter") is None:
        with pytest.raises(ne.errors.MissingPackageError, match="opentelemetry-exporter-otlp-proto-http"):
            opentelemetry_spans({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
