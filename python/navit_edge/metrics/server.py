"""The HTTP endpoint of ``metrics.serve``: one thread and a bounded number of connections, whatever clients do.

Not ``http.server``: that gives each client a thread and a descriptor for as long as it pleases, and runs in circles
if ``accept`` finds no descriptor.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

from navit_edge.errors import InvalidInputError
from navit_edge.metrics import Sessions, prometheus
from navit_edge.threads import start_thread

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Clients at once. One more, and the one that has been there longest is let go, so that slow ones shut out nobody.
MOST_CLIENTS = 16
#: How long a client may take to ask, and as long again to take its answer.
PATIENCE_S = 5.0
MOST_REQUEST_BYTES = 8192
#: How long no client is let in if the process has no descriptor left.
PAUSE_S = 0.5

_WORDS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 431: "Headers Too Large"}


@dataclass(kw_only=True, eq=False)
class _Client:
    socket: socket.socket
    until: float
    request: bytes = b""
    answer: memoryview | None = field(default=None)  # what is left of it


class MetricsServer:
    """``GET /metrics`` in a thread of its own, until ``close`` or the end of a ``with``. Made by ``serve``."""

    def __init__(self, sessions: Sessions, port: int, host: str) -> None:
        self._sessions = sessions
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, port), family=family)
        except (OSError, OverflowError, ValueError) as error:
            raise InvalidInputError(
                f"cannot listen on port {port} of {host}: {error}; name another port, or 0 for any free one"
            ) from error
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"
        self._process = os.getpid()
        self._woken, self._waker = socket.socketpair()
        self._clients: dict[socket.socket, _Client] = {}  # the earliest first
        self._selector = selectors.PollSelector()  # without a descriptor that a forked child would share
        self._paused_until = 0.0
        for one in (self._listener, self._woken):
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ)
        try:
            self._thread = start_thread(self._serve, name="navit-edge metrics")
        except Exception:
            self._close_sockets()
            raise

    def close(self) -> None:
        """Stops listening. May be called again. In a forked child it closes what the child inherited."""
        if self._process == os.getpid() and self._waker.fileno() >= 0:
            self._waker.close()  # the thread sees the end of it
            self._thread.join()
        self._close_sockets()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _close_sockets(self) -> None:
        for one in (self._listener, self._woken, self._waker, *self._clients):
            one.close()

    def _serve(self) -> None:
        """Body of the thread. Nothing but ``close`` ends it."""
        while True:
            try:
                if not self._turn():
                    return
            except Exception:  # memory has run out
                time.sleep(PAUSE_S)

    def _turn(self) -> bool:
        """Serves who is ready; False if the server was closed."""
        now = time.monotonic()
        for client in [one for one in self._clients.values() if one.until <= now]:
            self._let_go(client)
        if self._paused_until and self._paused_until <= now:
            self._paused_until = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ)
        times = [one.until for one in self._clients.values()] + ([self._paused_until] if self._paused_until else [])
        for key, _ in self._selector.select(max(0.0, min(times) - now) if times else None):
            if key.fileobj is self._woken:
                return False
            if key.fileobj is self._listener:
                self._let_in()
            elif (ready := self._clients.get(key.fileobj)) is not None:  # type: ignore[call-overload]
                self._serve_client(ready)
        return True

    def _let_in(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):  # it has gone again
            return
        except OSError:  # no descriptor, or no memory for one: select would say at once that there is somebody
            self._selector.unregister(self._listener)
            self._paused_until = time.monotonic() + PAUSE_S
            return
        client = _Client(socket=connection, until=time.monotonic() + PATIENCE_S)
        self._clients[connection] = client
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ)
        if len(self._clients) > MOST_CLIENTS:
            self._let_go(next(iter(self._clients.values())))

    def _let_go(self, client: _Client) -> None:
        del self._clients[client.socket]
        with suppress(KeyError):  # memory ran out before it was registered
            self._selector.unregister(client.socket)
        client.socket.close()

    def _serve_client(self, client: _Client) -> None:
        try:
            done = self._ask(client) if client.answer is None else self._tell(client)
        except BlockingIOError:
            return
        except Exception:  # it has hung up, or memory has run out
            done = True
        if done:
            self._let_go(client)

    def _ask(self, client: _Client) -> bool:
        more = client.socket.recv(MOST_REQUEST_BYTES)
        client.request += more
        if not more:
            return True
        if len(client.request) > MOST_REQUEST_BYTES:
            client.answer = _answer(431, f"a request has at most {MOST_REQUEST_BYTES} bytes here\n")
        elif b"\r\n\r\n" in client.request or b"\n\n" in client.request:
            client.answer = self._answer_to(client.request)
        else:
            return False
        client.until = time.monotonic() + PATIENCE_S
        self._selector.modify(client.socket, selectors.EVENT_WRITE)
        return False

    def _tell(self, client: _Client) -> bool:
        assert client.answer is not None
        client.answer = client.answer[client.socket.send(client.answer) :]
        return len(client.answer) == 0

    def _answer_to(self, request: bytes) -> memoryview:
        words = request.split(b"\n", 1)[0].split()
        if len(words) != 3 or not words[2].startswith(b"HTTP/"):
            return _answer(400, "expected GET /metrics HTTP/1.1\n")
        if words[0] not in (b"GET", b"HEAD"):
            return _answer(405, "expected GET\n")
        with_body = words[0] == b"GET"
        if words[1].partition(b"?")[0] != b"/metrics":
            return _answer(404, "metrics are at /metrics\n", with_body)
        try:
            return _answer(200, prometheus(self._sessions), with_body, CONTENT_TYPE)
        except Exception as error:  # the scraper should see it; the session must not
            return _answer(500, f"{type(error).__name__}: {error}\n", with_body)


def _answer(
    status: int, text: str, with_body: bool = True, content_type: str = "text/plain; charset=utf-8"
) -> memoryview:
    body = text.encode("utf-8", "backslashreplace")
    head = (
        f"HTTP/1.1 {status} {_WORDS.get(status, 'Internal Server Error')}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return memoryview(head.encode() + (body if with_body else b""))
