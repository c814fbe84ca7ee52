"""The port of gRPC: opened, guarded, drained."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc

from navit_edge.errors import InvalidInputError
from navit_edge.serve.accounting import Record
from navit_edge.serve.errors import ServeError
from navit_edge.serve.grpc.calls import refuse
from navit_edge.serve.grpc.observe import Observe
from navit_edge.serve.limits import Limits
from navit_edge.serve.security import Security, Tls

SERVICE = "inference.GRPCInferenceService"
#: What everybody may ask, without a key.
OPEN = {f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady"}


class GrpcServer:
    """One port. For the event loop that made it."""

    def __init__(
        self,
        handlers: dict[str, Any],
        limits: Limits,
        security: Security,
        finished: Sequence[Callable[[Record], object]] = (),
    ) -> None:
        """handlers: of the methods of the service, by name. finished: each gets the record of a call that has ended."""
        self._tls = security.tls
        self._server = grpc.aio.server(
            interceptors=[Observe(finished), *([] if security.keys is None else [_Guard(security)])],
            options=_options(limits),
            maximum_concurrent_rpcs=limits.max_connections,
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def start(self, host: str, port: int) -> int:
        """Opens the port, 0 for a free one, and says which it is. Raises InvalidInputError if it cannot be had."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._tls is None:
                opened = self._server.add_insecure_port(address)
            else:
                opened = self._server.add_secure_port(address, _credentials(self._tls))
        except RuntimeError:
            opened = 0
        if opened == 0:
            raise InvalidInputError(
                f"port {port} of {host} cannot be had for gRPC: another program has it, or the host is not of this "
                "machine; give another one with --grpc HOST:PORT"
            )
        await self._server.start()
        return int(opened)

    async def drain(self, grace_s: float) -> None:
        """Takes no more calls; those that were taken have ``grace_s`` seconds to be answered, then they are cut."""
        await self._server.stop(grace_s)


class _Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets in who has a key."""

    def __init__(self, security: Security) -> None:
        self._security = security

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        if details.method not in OPEN:
            try:
                self._security.check(details.invocation_metadata)
            except ServeError as error:
                return _refusal(error)
        return await continuation(details)


def _refusal(error: ServeError) -> Any:
    """A handler that reads nothing of what the client sends."""

    async def handle(_: object, context: Any) -> None:
        await refuse(error, context)

    return grpc.stream_stream_rpc_method_handler(handle)


def _credentials(tls: Tls) -> Any:
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    client_ca = None if tls.client_ca is None else tls.client_ca.read_bytes()
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)


def _options(limits: Limits) -> list[tuple[str, int]]:
    """https://grpc.github.io/grpc/core/group__grpc__arg__keys.html"""
    return [
        ("grpc.max_receive_message_length", limits.max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", 256),
        ("grpc.max_allowed_incoming_connections", limits.max_connections),
        ("grpc.max_metadata_size", limits.max_header_bytes),
        ("grpc.absolute_max_metadata_size", limits.max_header_bytes),
        ("grpc.server_handshake_timeout_ms", round(limits.header_timeout_s * 1000)),
        ("grpc.so_reuseport", 0),  # a port that another program has is an error, not shared with it
        # A client that is gone without a word is noticed.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", round(limits.idle_timeout_s * 1000)),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
