"""What is counted and logged of a request, over HTTP and gRPC alike.

The door of a protocol opens a ``Record``; whatever serves the request adds to it by ``current()``, without being handed
it. ``RequestMetrics`` counts finished requests, ``AccessLog`` (access_log.py) writes them down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from navit_edge.errors import import_or_explain

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram

#: Upper bounds in seconds of the histogram of a request's time.
_TIMES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


@dataclass(kw_only=True, eq=False)
class Record:
    """One request. Never holds a key, a query, a header but the trace id, or anything of an image."""

    protocol: str  # "http", "grpc"
    method: str = ""  # of HTTP: "POST"
    path: str = ""
    route: str = ""  # the pattern that answers the path, of which there are few; "": none
    client: str = ""  # address
    trace_id: str = ""  # of W3C's traceparent, 32 hexadecimal digits
    model: str = ""  # a name that the server has
    images: int = 0
    tokens: int = 0
    received_bytes: int = 0  # of the body
    sent_bytes: int = 0  # of the body
    status: str = ""  # "200", "OK"
    began_s: float = field(default_factory=time.time)  # since 1970
    duration_s: float = 0.0


_current: ContextVar[Record | None] = ContextVar("navit_edge_request", default=None)


def current() -> Record:
    """The record of the request that runs here; outside of one, a record that nobody reads."""
    return _current.get() or Record(protocol="")


@contextmanager
def request(record: Record, *finished: Callable[[Record], object]) -> Iterator[Record]:
    """Within it ``current()`` is the record; afterwards each of ``finished`` gets it, with the time that it took."""
    before = _current.set(record)
    start = time.perf_counter()
    try:
        yield record
    finally:
        record.duration_s = time.perf_counter() - start
        _current.reset(before)
        for told in finished:
            told(record)


class RequestMetrics:
    """Counters of requests, as Prometheus's text, beside those of the sessions. Thread-safe."""

    def __init__(self) -> None:
        client = import_or_explain(
            "prometheus_client", purpose="a server's /metrics", remedy='pip install "navit-edge[serve]"'
        )
        self._registry: CollectorRegistry = client.CollectorRegistry()
        known = ("protocol", "method", "route", "model")
        self._requests = client.Counter(
            "navit_edge_requests", "Requests that have been answered.", (*known, "code"), registry=self._registry
        )
        self._times = client.Histogram(
            "navit_edge_request_seconds",
            "From a request's header to the end of its answer.",
            ("protocol", "route"),
            buckets=_TIMES_S,
            registry=self._registry,
        )
        self._received = client.Counter(
            "navit_edge_request_bytes", "Bytes of bodies received.", ("protocol",), registry=self._registry
        )
        self._sent = client.Counter(
            "navit_edge_response_bytes", "Bytes of bodies sent.", ("protocol",), registry=self._registry
        )
        self._lost = client.Counter(
            "navit_edge_access_log_lost_lines", "Lines that the access log had no room for.", registry=self._registry
        )
        self._text = client.generate_latest
        #: Looking labels up takes longer than counting.
        self._counted = lru_cache(maxsize=1024)(self._found)

    def add(self, record: Record) -> None:
        """Counts a finished request."""
        requests, times = self._counted(record.protocol, record.method, record.route, record.model, record.status)
        requests.inc()
        times.observe(record.duration_s)
        self._received.labels(record.protocol).inc(record.received_bytes)
        self._sent.labels(record.protocol).inc(record.sent_bytes)

    def _found(self, protocol: str, method: str, route: str, model: str, status: str) -> tuple[Counter, Histogram]:
        return self._requests.labels(protocol, method, route, model, status), self._times.labels(protocol, route)

    def lost_line(self) -> None:
        """Counts a line that the access log dropped."""
        self._lost.inc()

    def prometheus(self) -> str:
        """In the text format 0.0.4."""
        return bytes(self._text(self._registry)).decode()
