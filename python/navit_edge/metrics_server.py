"""The HTTP endpoint of ``metrics.serve``; apart from it, since importing a server takes longer than navit_edge does."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType

from navit_edge.errors import InvalidInputError
from navit_edge.metrics import Sessions, prometheus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


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
