"""Connections that hold to the limits: how many there are, how large headers are, how slow a client may be.

uvicorn bounds none of them but idle connections between requests. One look a second at every connection is enough, so
that a request pays for no timers.
"""

from __future__ import annotations

import asyncio
import time
from enum import Enum
from typing import Any, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from navit_edge.serve.limits import Limits

_WORDS = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class Phase(Enum):
    """What a connection waits for."""

    HEADERS = "headers"
    BODY = "body"
    ANSWER = "answer"
    NEXT = "next"  # an idle connection, for which uvicorn has a timer


class HeadersTooLargeError(Exception):
    """Ends the parser."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection. ``limits`` is set by ``bounded``, which makes a class for each server."""

    limits: Limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._phase = Phase.HEADERS
        self._since = self._last = time.monotonic()
        self._header_bytes = 0
        self._unsent = 0
        self._unsent_since = self._since
        self._refused = False
        if len(self.connections) > self.limits.max_connections:
            self._refuse(503, f"there are {self.limits.max_connections} connections already; try again in a second")

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._last = time.monotonic()
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase, self._since, self._header_bytes = Phase.HEADERS, time.monotonic(), 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._phase, self._since = Phase.BODY, time.monotonic()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._phase = Phase.ANSWER
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._phase is Phase.ANSWER:
            self._phase = Phase.NEXT
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Called for what is no HTTP."""
        if self._header_bytes > self.limits.max_header_bytes:
            self._refuse(431, f"the headers have more than {self.limits.max_header_bytes:,} bytes; send fewer")
        else:
            self._refuse(400, "this is no request of HTTP/1.1; expected one")

    def look_at(self, now: float) -> None:
        """Ends the connection if its client is too slow. Once a second or so, by the server."""
        limits = self.limits
        if self.transport is None or self._is_stuck(now):
            return
        if self._phase is Phase.HEADERS and now - self._since > limits.header_timeout_s:
            self._refuse(408, f"the headers were not there after {limits.header_timeout_s:g} s")
        elif self._phase is Phase.BODY and (
            now - max(self._last, self._since) > limits.idle_timeout_s or now - self._since > limits.body_timeout_s
        ):
            self._refuse(
                408,
                f"the body was not there after {limits.body_timeout_s:g} s, or nothing of it came for "
                f"{limits.idle_timeout_s:g} s",
            )

    def _is_stuck(self, now: float) -> bool:
        """Drops the connection if nothing of an answer was read for long."""
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
            return False
        if now - self._unsent_since > self.limits.idle_timeout_s:
            self.transport.abort()
            return True
        return False

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self.limits.max_header_bytes:
            raise HeadersTooLargeError

    def _refuse(self, status: int, message: str) -> None:
        """Says so, if no answer has begun, and closes."""
        self._refused = True
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()
            return
        body = msgspec.json.encode({"error": message})
        retry = "Retry-After: 1\r\n" if status == 503 else ""
        head = (
            f"HTTP/1.1 {status} {_WORDS[status]}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{retry}Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def bounded(limits: Limits) -> type[BoundedProtocol]:
    """The class of a server's connections."""
    return cast("type[BoundedProtocol]", type("BoundedProtocol", (BoundedProtocol,), {"limits": limits}))


async def watch(connections: Any) -> None:
    """Looks at all connections until it is cancelled. connections: uvicorn's own set of them."""
    while True:
        await asyncio.sleep(1.0)
        now = time.monotonic()
        for connection in list(connections):
            connection.look_at(now)
