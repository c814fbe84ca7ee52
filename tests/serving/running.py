"""A whole server in this process, for tests: its own event loop in a thread, ports that were free."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import navit_edge as ne
from navit_edge.serve.access_log import AccessLog
from navit_edge.serve.limits import Limits
from navit_edge.serve.repository import Model, Repository
from navit_edge.serve.security import Security
from navit_edge.serve.server import Address, Server
from navit_edge.serve.service import Service

T = TypeVar("T")
#: A limit on a wait only ends what hangs.
FOR_EVER_S = 120.0
ANY_PORT = Address(host="127.0.0.1", port=0)


class Running:
    """A server, and its event loop to call into."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self._loop = loop

    @property
    def address(self) -> str:
        """HOST:PORT of HTTP."""
        return str(self.server.http)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def model(self, name: str = "tiny") -> Model:
        return self.server.service.repository.model(name)

    def images(self, name: str = "tiny") -> dict[str, int]:
        """Counts of images of the model's session."""
        session = self.model(name).session
        assert session is not None
        counts: dict[str, int] = session.metrics.stats()["images"]
        return counts

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """In the server's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(FOR_EVER_S)

    def connect(self) -> socket.socket:
        assert self.server.http is not None
        return socket.create_connection((self.server.http.host, self.server.http.port), timeout=FOR_EVER_S)


@contextmanager
def running(
    bundles: dict[str, Path],
    *,
    limits: Limits | None = None,
    security: Security | None = None,
    grpc: bool = False,
    open_session: Callable[[Path], ne.Session] = ne.Session,
    access_log: AccessLog | None = None,
) -> Iterator[Running]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()

    async def start() -> tuple[Server, asyncio.Task[None]]:
        repository = Repository(bundles, limits=limits or Limits(), open_session=open_session)
        service = Service(repository=repository, security=security or Security(), access_log=access_log)
        server = Server(service, http=ANY_PORT, grpc=ANY_PORT if grpc else None)
        await server.start()
        return server, asyncio.create_task(server.serve())

    async def stop(server: Server, serving: asyncio.Task[None]) -> None:
        server.stop()
        await serving

    try:
        server, serving = asyncio.run_coroutine_threadsafe(start(), loop).result(FOR_EVER_S)
        try:
            yield Running(server, loop)
        finally:
            asyncio.run_coroutine_threadsafe(stop(server, serving), loop).result(FOR_EVER_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(FOR_EVER_S)
        loop.close()
