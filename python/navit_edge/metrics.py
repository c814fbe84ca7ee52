"""What a session has done so far: ``session.stats()``, Prometheus text, and an HTTP endpoint for scraping it.

docs/metrics.md lists every number with its unit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from navit_edge import _core as native
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from navit_edge.session import Session

#: One session, or several by the name that their label ``session`` gets.
Sessions: TypeAlias = "Session | Mapping[str, Session]"

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metered:
    """The part of ``Session`` that tells what it does. Any thread, at any time; also when closed or broken."""

    _core: native.Session

    def stats(self) -> dict[str, Any]:
        """What the session has done since it was opened, as a dict that ``json.dumps`` takes.

        * ``images``: counts ``submitted``, ``completed``, ``failed``, ``cancelled``, ``dropped`` (by a stream),
          ``scaled_down``; ``waiting`` now; ``errors``: failed ones by "invalid_input", "over_budget", "bundle",
          "backend". An idle session has submitted = completed + failed + cancelled.
        * ``packs``: counts ``completed``, ``failed``; ``in_flight`` now; ``slots``.
        * ``tokens``: ``used`` by images, and ``padding``, in completed packs.
        * ``deadlines``: completed images that ``met`` or ``missed`` theirs.
        * ``queue_s`` (submission to the start of the pack), ``latency_s`` (submission to result), ``slack_s`` (left of a
          deadline), ``overrun_s`` (past one), ``image_tokens``: of images. ``preprocess_s``, ``engine_s``, ``unpack_s``,
          ``pack_s``, ``fill`` (used tokens / T), ``pack_images``: of completed packs. Each with ``count``, ``sum``,
          ``mean``, ``min``, ``max``, ``p50``, ``p90``, ``p99`` (within 1/8; docs/metrics.md says how); None where
          nothing was counted.
        * ``uptime_s``, ``broken``, ``callback_errors``, and the labels ``bundle`` and ``engine``.

        Times are in seconds.
        """
        return {**self._core.metric_labels(), **self._core.metrics()}

    def prometheus(self, labels: Mapping[str, str] | None = None) -> str:
        """The same in Prometheus's text format 0.0.4. ``labels`` are added to ``bundle`` and ``engine``.

        Raises InvalidInputError for a label's name that Prometheus does not allow.
        """
        return native.prometheus([(self._core, _labels(self._core, labels or {}))])

    def start_trace(self, *, max_events: int = 131072) -> None:
        """Records what happens from now on: when each pack was preprocessed, run and unpacked in which slot, how long
        images waited, and what was dropped, cancelled, late or failed.

        max_events: the last so many are kept, 80 bytes each. An image takes two, a pack four. What is lost is told in the
            trace.
        Raises InvalidInputError where a trace is being recorded already.
        """
        if max_events < 1:
            raise InvalidInputError(f"max_events is {max_events}; expected at least 1; 131072 hold some 50000 images")
        self._core.start_trace(max_events)

    def stop_trace(self) -> dict[str, Any]:
        """Ends the trace and returns it: an object in Chrome's Trace Event Format. ``navit_edge.trace.write`` makes a
        file of it, which https://ui.perfetto.dev opens.

        What has not ended yet, images that wait and packs in flight, is not in it. Raises InvalidInputError where no
        trace is being recorded.
        """
        trace: dict[str, Any] = json.loads(self._core.stop_trace())
        return trace


def _labels(core: native.Session, more: Mapping[str, str]) -> list[tuple[str, str]]:
    return [*core.metric_labels().items(), *more.items()]


def prometheus(sessions: Sessions) -> str:
    """Prometheus's text of one session, or of several as one page: {"front": session, ...} gives session="front".

    Raises InvalidInputError for two sessions that no label tells apart.
    """
    named = sessions if isinstance(sessions, Mapping) else {"": sessions}
    return native.prometheus(
        [(one._core, _labels(one._core, {"session": name} if name else {})) for name, one in named.items()]
    )


class MetricsServer:
    """``GET /metrics`` in a thread of its own, until ``close`` or the end of a ``with``. Made by ``serve``."""

    def __init__(self, sessions: Sessions, port: int, host: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.partition("?")[0] != "/metrics":
                    self._answer(404, "text/plain; charset=utf-8", "metrics are at /metrics\n")
                    return
                try:
                    self._answer(200, CONTENT_TYPE, prometheus(sessions))
                except Exception as error:  # the scraper should see it; the session must not
                    self._answer(500, "text/plain; charset=utf-8", f"{type(error).__name__}: {error}\n")

            def _answer(self, status: int, content_type: str, text: str) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """A scrape every few seconds is no news."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise InvalidInputError(
                f"port {port} of {host} cannot be listened on: {error}; name another, or 0 for one that is free"
            ) from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}/metrics"
        self._thread = Thread(target=self._server.serve_forever, name="navit-edge metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening. May be called again."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def serve(sessions: Sessions, port: int, *, host: str = "127.0.0.1") -> MetricsServer:
    """Answers ``GET /metrics`` with ``prometheus(sessions)``, as Triton and TorchServe do, from a thread of its own.

    port: 0 takes a free one; the server's ``port`` and ``url`` say which.
    host: this machine alone by default; "0.0.0.0" lets every machine in, without a password: behind a firewall only.
    Raises InvalidInputError where the port cannot be had.
    """
    prometheus(sessions)  # what would fail fails here, not in a scrape
    return MetricsServer(sessions, port, host)
