"""A server of gRPC in this process, for tests: its own event loop in a thread, one small bundle."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import navit_edge as ne
from navit_edge.serve.accounting import Record
from navit_edge.serve.grpc.server import GrpcServer
from navit_edge.serve.grpc.service import Service
from navit_edge.serve.limits import Limits, Room
from navit_edge.serve.repository import Repository
from navit_edge.serve.security import Security

T = TypeVar("T")
#: A limit on a wait only ends what hangs.
FOR_EVER_S = 120.0


@dataclass
class Served:
    repository: Repository
    loop: asyncio.AbstractEventLoop
    room: Room
    server: GrpcServer
    ready: bool = True
    port: int = 0

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """In the server's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def stats(self, model: str = "tiny") -> dict[str, Any]:
        session = self.repository.model(model).session
        assert session is not None
        return session.metrics.stats()

    def session(self, model: str = "tiny") -> ne.Session:
        session = self.repository.model(model).session
        assert session is not None
        return session


def until(what: Callable[[], bool]) -> None:
    ends = time.monotonic() + FOR_EVER_S
    while not what():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.002)


@contextmanager
def serving(
    bundles: dict[str, Path],
    *,
    limits: Limits | None = None,
    security: Security | None = None,
    open_session: Callable[[Path], ne.Session] = ne.Session,
    finished: Sequence[Callable[[Record], object]] = (),
) -> Iterator[Served]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()

    async def start() -> Served:
        taken = limits or Limits()
        repository = Repository(bundles, limits=taken, open_session=open_session)
        await repository.load()
        room = Room(taken.max_bodies_bytes)
        service = Service(
            repository=repository,
            limits=taken,
            room=room,
            ready=lambda: served.ready and repository.ready,
        )
        server = GrpcServer(service.handlers(), taken, security or Security(), finished)
        served = Served(repository=repository, loop=loop, room=room, server=server)
        served.port = await server.start("127.0.0.1", 0)
        return served

    async def stop(served: Served) -> None:
        await served.server.drain(FOR_EVER_S)
        await served.repository.close()

    try:
        served = asyncio.run_coroutine_threadsafe(start(), loop).result(FOR_EVER_S)
        try:
            yield served
        finally:
            asyncio.run_coroutine_threadsafe(stop(served), loop).result(FOR_EVER_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(FOR_EVER_S)
        loop.close()
