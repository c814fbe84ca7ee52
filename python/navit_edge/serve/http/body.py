"""Bodies of requests, within the limits, and clients that go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.requests import Request

from navit_edge.serve.errors import Code, ServeError, bad_input
from navit_edge.serve.limits import Share
from navit_edge.serve.service import Service

T = TypeVar("T")


class Body:
    """data: all of it. share: of the server's room, held for as long as the body is."""

    def __init__(self, data: bytearray, share: Share) -> None:
        self.data = data
        self.share = share


@asynccontextmanager
async def body_of(request: Request, service: Service) -> AsyncIterator[Body]:
    """The body, and its share of the server's room, until the end of the context. How slow a client may be is watched
    by the connection (``protocol.py``). Raises ServeError, before memory is taken if Content-Length tells."""
    limits = service.limits
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise bad_input(f"Content-Encoding is {encoding[:40]!r}; expected none; send the body as it is")
    with service.room.holding() as share:
        declared = request.headers.get("content-length", "0")
        if not declared.isascii() or not declared.isdigit():
            raise bad_input(f"Content-Length is {declared[:40]!r}; expected a number of bytes")
        size = int(declared[:20])
        limits.check_body(size)
        share.grow_to(size)
        data = bytearray()
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise gone()
            data += message.get("body", b"")
            more = message.get("more_body", False)
            limits.check_body(len(data))
            share.grow_to(len(data))
        yield Body(data, share)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives, which is cancelled if the client goes away. The body must have been read. Raises
    ServeError (``Code.CANCELLED``) then."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise gone()
    finally:
        watching.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait((working,))


def gone() -> ServeError:
    return ServeError(Code.CANCELLED, "the client has gone")


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
