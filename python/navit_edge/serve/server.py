"""One server: its sockets, its models, its protocols; how it starts, and how it ends without losing anything."""

from __future__ import annotations

import asyncio
import math
import os
import resource
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from navit_edge.errors import InvalidInputError, import_or_explain
from navit_edge.serve.service import Service

if TYPE_CHECKING:
    import uvicorn

    from navit_edge.serve.grpc.server import GrpcServer

REMEDY = 'pip install "navit-edge[serve]"'
#: Of what is no connection: files, libraries, the event loop.
_OTHER_DESCRIPTORS = 256


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a protocol listens. port: 0 takes a free one."""

    host: str
    port: int

    @staticmethod
    def parse(text: str) -> Address:
        """Of "127.0.0.1:8000", "[::1]:8000", ":8000" (all of the machine). Raises InvalidInputError."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if (
            not colon
            or not port.isascii()
            or not port.isdigit()
            or int(port) > 65535
            or (":" in host and not bracketed)
        ):
            raise InvalidInputError(f"the address is {text!r}; expected HOST:PORT, as 127.0.0.1:8000 or [::1]:8000")
        return Address(host=host.strip("[]") or "0.0.0.0", port=int(port))

    @property
    def is_loopback(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Server:
    """Serves until ``stop``. ``start`` and ``serve`` in one event loop."""

    def __init__(self, service: Service, *, http: Address | None = None, grpc: Address | None = None) -> None:
        """http, grpc: where each listens; None: not at all. Raises MissingPackageError."""
        needed = [
            *(("fastapi", "uvicorn", "httptools") if http else ()),
            *(("grpc", "tritonclient.grpc") if grpc else ()),
        ]
        for package in needed:
            import_or_explain(package, purpose="the server", remedy=REMEDY)
        self.service = service
        self._wanted_http, self._wanted_grpc = http, grpc
        self._uvicorn: uvicorn.Server | None = None
        self._grpc: GrpcServer | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._stopped = asyncio.Event()
        #: Where it listens, from ``start`` on.
        self.http: Address | None = None
        self.grpc: Address | None = None

    async def start(self) -> None:
        """Listens, then loads the models: it is live at once, and ready when this returns. Raises InvalidInputError if
        an address cannot be had, and what ``Session`` raises."""
        try:
            if self._wanted_http is not None:
                self._start_http(self._wanted_http)
            if self._wanted_grpc is not None:
                await self._start_grpc(self._wanted_grpc)
        except BaseException:
            await self._end()
            raise
        loading = asyncio.create_task(self.service.repository.load())
        stopping = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
            await loading  # a bundle that is being opened cannot be given up
        except BaseException:
            await self._end()
            raise
        finally:
            stopping.cancel()

    def stop(self) -> None:
        """Takes no more connections, and lets ``serve`` return when all requests are answered. In the event loop."""
        self.service.draining = True
        self._stopped.set()

    async def serve(self) -> None:
        """Until ``stop``, and until everything that was accepted is answered."""
        await self._stopped.wait()
        await self._end()

    async def _end(self) -> None:
        self.stop()
        ending: list[Coroutine[Any, Any, None]] = []
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True
            ending.append(self._uvicorn_ended())
        if self._grpc is not None:
            ending.append(self._grpc.drain(self.service.limits.drain_timeout_s))
        await asyncio.gather(*ending)
        for task in self._tasks:
            task.cancel()
        await self.service.repository.close()

    async def _uvicorn_ended(self) -> None:
        await self._tasks[0]

    def _start_http(self, address: Address) -> None:
        import uvicorn

        from navit_edge.serve.http.app import make_app
        from navit_edge.serve.http.protocol import bounded, watch

        class Uvicorn(uvicorn.Server):
            """Whose signals are ours."""

            def capture_signals(self) -> Any:
                return nullcontext()

        limits = self.service.limits
        listener = listen(address)
        self.http = replace(address, port=listener.getsockname()[1])
        allow_descriptors(limits.max_connections)
        config = uvicorn.Config(
            make_app(self.service),
            http=bounded(limits),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_keep_alive=math.ceil(limits.idle_timeout_s),
            timeout_graceful_shutdown=math.ceil(limits.drain_timeout_s),
        )
        config.load()
        if self.service.security.tls is not None:
            config.ssl = self.service.security.tls.context()
        self._uvicorn = Uvicorn(config)
        self._tasks.append(asyncio.create_task(self._uvicorn.serve(sockets=[listener])))
        self._tasks.append(asyncio.create_task(watch(self._uvicorn.server_state.connections)))

    async def _start_grpc(self, address: Address) -> None:
        from navit_edge.serve.grpc.server import GrpcServer
        from navit_edge.serve.grpc.service import Service as GrpcService

        service = self.service
        handlers = GrpcService(
            repository=service.repository, limits=service.limits, room=service.room, ready=lambda: service.ready
        ).handlers()
        grpc = GrpcServer(handlers, service.limits, service.security, service.finished)
        self.grpc = replace(address, port=await grpc.start(address.host, address.port))
        self._grpc = grpc


def listen(address: Address) -> socket.socket:
    """A socket that listens. Raises InvalidInputError if the address cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=1024)
    except OSError as error:
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else error.strerror or str(error)  # not what create_server says
        raise InvalidInputError(
            f"cannot listen on {address}: {why}; end the program that does, or name another port with --http or --grpc "
            "(0: any free one)"
        ) from error


def allow_descriptors(connections: int) -> None:
    """Raises the limit of this process on open files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def run(
    make: Callable[[], Server],
    started: Callable[[Server], object],
    ending: Callable[[Server], object],
) -> None:
    """Serves until SIGTERM or SIGINT, and then until all requests are answered; a second signal ends the process at
    once. In the main thread. make: called in the event loop. started, ending: called when the server is ready, and at
    the first signal.

    Raises what ``Server`` and ``Server.start`` raise.
    """
    loop = _new_loop()
    asyncio.set_event_loop(loop)

    async def main() -> None:
        server = make()

        def on_signal(number: signal.Signals) -> None:
            if server.service.draining:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            ending(server)
            server.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal, number)
        await server.start()
        if not server.service.draining:
            started(server)
        await server.serve()

    try:
        loop.run_until_complete(main())
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
