"""Opens the record of each HTTP request (accounting.py), around everything else that answers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from navit_edge.serve.accounting import Record, request
from navit_edge.serve.tracing import read_trace_context

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: What a metric's label says of a method; a client can write any.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MOST_PATH = 1024
#: The status in counts and in the log if the client went away before there was one (nginx's number).
_GONE = "499"


class Observe:
    """ASGI middleware. finished: each gets the record of a request that has ended."""

    def __init__(self, app: ASGIApp, finished: Sequence[Callable[[Record], object]]) -> None:
        self._app = app
        self._finished = finished

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = _record_of(scope)

        async def counted_receive() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                record.received_bytes += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = str(message["status"])
            elif message["type"] == "http.response.body":
                record.sent_bytes += len(message.get("body", b""))
            await send(message)

        with request(record, *self._finished):
            try:
                await self._app(scope, counted_receive, counted_send)
            except Exception:  # the server answers 500 outside of this
                record.status = record.status or "500"
                raise
            finally:
                record.route = getattr(scope.get("route"), "path", "")
                record.status = record.status or _GONE


def _record_of(scope: Scope) -> Record:
    method = str(scope["method"])
    client = scope.get("client")
    traceparent = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), None)
    trace = read_trace_context(traceparent)
    return Record(
        protocol="http",
        method=method if method in _METHODS else "other",
        path=str(scope["path"])[:_MOST_PATH],
        client=str(client[0]) if client else "",
        trace_id="" if trace is None else trace.trace_id,
    )
