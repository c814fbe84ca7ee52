"""What a session has done so far: numbers, Prometheus text and its server, traces (docs/metrics.md)."""

from navit_edge.metrics.session import SessionMetrics, Sessions, prometheus, serve

__all__ = ["SessionMetrics", "Sessions", "prometheus", "serve"]
