"""Whose request it was: W3C trace context into the session's trace, and OpenTelemetry's spans.

https://www.w3.org/TR/trace-context/: ``traceparent: 00-<trace id>-<id of the caller's span>-<flags>``.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from navit_edge.errors import InvalidInputError, MissingPackageError

if TYPE_CHECKING:
    from navit_edge.session import Session

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
#: A vendor's own values, passed on as they are, to 512 characters as the standard asks for at least.
MOST_TRACESTATE = 512
#: Requests that a session's trace keeps, the last ones.
MOST_REQUESTS = 65536


@dataclass(frozen=True, kw_only=True)
class TraceContext:
    """Who asks. trace_id: 32 hexadecimal digits; parent_id: 16, of the caller's span."""

    trace_id: str
    parent_id: str
    sampled: bool
    state: str = ""


def read_trace_context(traceparent: str | None, tracestate: str | None = None) -> TraceContext | None:
    """None if there is none, or none that the standard takes: a trace is no reason to refuse a request."""
    found = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent is not None else None
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"]):
        return None
    if not found["trace"].strip("0") or not found["span"].strip("0"):
        return None
    state = tracestate if tracestate is not None and len(tracestate) <= MOST_TRACESTATE else ""
    sampled = bool(int(found["flags"], 16) & 1)
    return TraceContext(trace_id=found["trace"], parent_id=found["span"], sampled=sampled, state=state)


@dataclass
class RequestSpan:
    """One request for a model while it is answered."""

    context: TraceContext | None
    span_id: str
    began_ns: int
    ended_ns: int = 0
    images: list[int] = field(default_factory=list)  # their numbers in the session's trace
    attributes: dict[str, str | int | float] = field(default_factory=dict)
    error: str = ""

    def event_args(self) -> dict[str, Any]:
        args: dict[str, Any] = {"images": self.images, **self.attributes}
        if self.context is not None:
            args |= {"trace_id": self.context.trace_id, "parent_id": self.context.parent_id, "span_id": self.span_id}
        return args | ({"error": self.error} if self.error else {})


class ModelTracing:
    """The requests for one model. One thread, the event loop's."""

    def __init__(self, model: str, spans: Spans | None = None) -> None:
        self._model = model
        self._spans = spans
        self._requests: deque[RequestSpan] | None = None
        self._began_ns = 0

    @contextmanager
    def request(self, context: TraceContext | None) -> Iterator[RequestSpan]:
        """A span around what happens inside: in the session's trace if one is being recorded, and OpenTelemetry's."""
        span = RequestSpan(context=context, span_id=secrets.token_hex(8), began_ns=time.monotonic_ns())
        told = None if self._spans is None else self._spans.start(self._model, context)
        if told is not None:
            span.span_id = told.span_id
        try:
            yield span
        except BaseException as error:
            span.error = type(error).__name__
            raise
        finally:
            span.ended_ns = time.monotonic_ns()
            if self._requests is not None:
                self._requests.append(span)
            if told is not None:
                told.end(span)

    def start(self, session: Session) -> None:
        """Begins the session's trace. Raises InvalidInputError if one is being recorded already."""
        session.metrics.start_trace()
        self._began_ns = time.monotonic_ns()
        self._requests = deque(maxlen=MOST_REQUESTS)

    def stop(self, session: Session) -> dict[str, Any]:
        """The session's trace (docs/metrics.md) with the requests among its events: async spans ``request`` that name
        their images, and of a request with a ``traceparent`` the ids of trace and spans."""
        trace = session.metrics.stop_trace()
        requests, self._requests = self._requests or (), None
        events = trace["traceEvents"]
        pid = events[0]["pid"] if events else os.getpid()
        for number, span in enumerate(requests):
            common = {"name": "request", "cat": "request", "id": f"request {number}", "pid": pid, "tid": 0}
            began = max(span.began_ns - self._began_ns, 0) / 1000
            ended = max(span.ended_ns - self._began_ns, 0) / 1000
            events.append({"ph": "b", "ts": began, "args": span.event_args(), **common})
            events.append({"ph": "e", "ts": ended, **common})
        return trace


class Spans:
    """OpenTelemetry's spans of requests, by the provider of the process."""

    def __init__(self, tracer: Any) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api = trace
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    def start(self, model: str, context: TraceContext | None) -> OpenSpan:
        carrier: dict[str, str] = {}
        if context is not None:
            carrier["traceparent"] = f"00-{context.trace_id}-{context.parent_id}-{int(context.sampled):02x}"
            if context.state:
                carrier["tracestate"] = context.state
        attributes = {"navit_edge.model": model}
        kind = self._api.SpanKind.SERVER
        parent = self._propagator.extract(carrier)
        return OpenSpan(
            self._tracer.start_span(f"infer {model}", context=parent, kind=kind, attributes=attributes), self._api
        )


class OpenSpan:
    """A span of OpenTelemetry's that has begun."""

    def __init__(self, span: Any, api: Any) -> None:
        self._span = span
        self._api = api
        self.span_id = f"{span.get_span_context().span_id:016x}"

    def end(self, of: RequestSpan) -> None:
        self._span.set_attributes({f"navit_edge.{name}": value for name, value in of.attributes.items()})
        if of.error:
            self._span.set_status(self._api.Status(self._api.StatusCode.ERROR, of.error))
        self._span.end()


def opentelemetry_spans(environment: Mapping[str, str] | None = None) -> Spans | None:
    """None if OpenTelemetry's SDK is not installed.

    The provider is the one that the process has (``opentelemetry-instrument navit-edge serve …``, a program that embeds
    the server). If it has none, one is made as the variables of OpenTelemetry say: ``OTEL_TRACES_EXPORTER`` console or
    otlp, ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_SERVICE_NAME``; without the first two spans go nowhere. Raises
    MissingPackageError if they ask for an exporter that is not installed, InvalidInputError for another.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
    except ImportError:
        return None
    given = os.environ if environment is None else environment
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        exporters = list(_exporters(given))
        if not exporters:
            return None
        trace.set_tracer_provider(_provider(exporters))
    return Spans(trace.get_tracer("navit_edge"))


def _exporters(environment: Mapping[str, str]) -> Iterator[Any]:
    endpoint = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    names = environment.get("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    for name in names.split(","):
        if name == "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter

            yield ConsoleSpanExporter()
        elif name == "otlp":
            try:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            except ImportError as error:
                raise MissingPackageError(
                    "sending spans by OTLP",
                    "opentelemetry-exporter-otlp-proto-http",
                    "pip install opentelemetry-exporter-otlp-proto-http, or set OTEL_TRACES_EXPORTER=none",
                ) from error
            yield OTLPSpanExporter()
        elif name != "none":
            raise InvalidInputError(f"OTEL_TRACES_EXPORTER has {name!r}; expected console, otlp or none")


def _provider(exporters: Iterable[Any]) -> Any:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: "navit-edge"}
    provider = TracerProvider(resource=Resource.create(named))
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
