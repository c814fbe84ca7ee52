"""Opens the record of each call of gRPC (accounting.py), around everything else that answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import grpc

from navit_edge.serve.accounting import Record, request
from navit_edge.serve.tracing import read_trace_context


class Observe(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """finished: each gets the record of a call that has ended. A method that the server does not have is not counted:
    clients can write any."""

    def __init__(self, finished: Sequence[Callable[[Record], object]]) -> None:
        self._finished = finished

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        method = str(details.method)
        metadata = dict(details.invocation_metadata or ())
        if handler.stream_unary is not None:
            one = handler.stream_unary

            async def unary(messages: Any, context: Any) -> Any:
                with self._recording(method, metadata, context):
                    return await one(messages, context)

            return grpc.stream_unary_rpc_method_handler(unary)
        many = handler.stream_stream

        async def stream(messages: Any, context: Any) -> None:
            with self._recording(method, metadata, context):
                await many(messages, context)

        return grpc.stream_stream_rpc_method_handler(stream)

    @contextmanager
    def _recording(self, method: str, metadata: dict[str, Any], context: Any) -> Iterator[None]:
        trace = read_trace_context(metadata.get("traceparent"))
        record = Record(
            protocol="grpc",
            method=method.rpartition("/")[2],
            path=method,
            route=method,
            client=_address_of(context.peer()),
            trace_id="" if trace is None else trace.trace_id,
        )
        with request(record, *self._finished):
            try:
                yield
                record.status = "OK"
            except asyncio.CancelledError:
                record.status = "CANCELLED"
                raise
            except BaseException:  # gRPC raises one of its own if a call is ended with an error
                record.status = getattr(context.code(), "name", "UNKNOWN")
                raise


def _address_of(peer: str) -> str:
    """Of "ipv4:192.0.2.7:4711" and "ipv6:[2001:db8::1]:4711", which gRPC quotes as URLs do."""
    _, _, address = unquote(peer).partition(":")
    return address.rpartition(":")[0].strip("[]")
