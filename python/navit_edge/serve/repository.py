"""The bundles of a server by their names: opened, closed, ready. Which there are is said when it starts; no path comes
from the network."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from navit_edge.bundle import manifest as manifests
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.machine.cores import usable_cores
from navit_edge.metrics.trace import write as write_trace
from navit_edge.serve.backlog import Backlog
from navit_edge.serve.errors import Code, ServeError, served
from navit_edge.serve.limits import Limits
from navit_edge.serve.statistics import RequestStatistics
from navit_edge.serve.tracing import ModelTracing, Spans
from navit_edge.session import Session

_log = logging.getLogger("navit_edge.serve")

#: The one version that a bundle has.
VERSION = "1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


class State(Enum):
    """By the words of the protocol's repository extension."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A model that is loaded."""

    session: Session
    manifest: manifests.Manifest


class Model:
    """A bundle by its name. Everything but what it opens is for the event loop's thread alone."""

    def __init__(
        self,
        name: str,
        path: Path,
        open_session: Callable[[Path], Session],
        workers: ThreadPoolExecutor,
        spans: Spans | None = None,
        trace_file: Path | None = None,
    ) -> None:
        self.name = name
        self.version = VERSION
        self.state = State.UNAVAILABLE
        self.reason = "not loaded"
        #: Threads that decode images.
        self.workers = workers
        #: The requests for it: how many, how long; whose they were.
        self.statistics = RequestStatistics()
        self.backlog = Backlog()
        self.tracing = ModelTracing(name, spans)
        self._trace_file = trace_file
        self._path = path
        self._open_session = open_session
        self._opened: Opened | None = None
        self._in_use = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._changing = asyncio.Lock()

    @property
    def ready(self) -> bool:
        return self.not_ready is None

    @property
    def not_ready(self) -> ServeError | None:
        """Why it takes no requests."""
        if self._opened is None or self.state is not State.READY:
            why = f"{self.state.value.lower()}: {self.reason}" if self.reason else self.state.value.lower()
            return ServeError(Code.UNAVAILABLE, f'the model "{self.name}" is {why}')
        if self._opened.session.broken:
            return ServeError(
                Code.BROKEN,
                f'the engine of the model "{self.name}" has failed, and takes no more images; the server\'s log says '
                "why; load the model again, or restart the server",
            )
        return None

    @property
    def told_state(self) -> tuple[State, str]:
        """For the index of the repository: its state, and why it takes no requests."""
        error = self.not_ready
        if error is not None and error.code is Code.BROKEN:
            return State.UNAVAILABLE, error.message
        return self.state, self.reason

    @property
    def opened(self) -> Opened:
        """Raises ServeError if it takes no requests."""
        error = self.not_ready
        if error is not None:
            raise error
        assert self._opened is not None
        return self._opened

    @property
    def session(self) -> Session | None:
        """Its session while it is loaded, broken or not: for metrics."""
        return None if self._opened is None else self._opened.session

    @contextmanager
    def using(self) -> Iterator[Opened]:
        """What is loaded, which stays open meanwhile. Raises ServeError as ``opened``."""
        opened = self.opened
        self._in_use += 1
        self._idle.clear()
        try:
            yield opened
        finally:
            self._in_use -= 1
            if self._in_use == 0:
                self._idle.set()

    async def load(self) -> None:
        """Opens the bundle; again, if the engine has failed. Raises what ``Session`` raises."""
        async with self._changing:
            if self.ready:
                return
            await self._close()
            self.state, self.reason = State.LOADING, ""
            try:
                self._opened = await asyncio.to_thread(self._open)
            except BaseException as error:
                self.state, self.reason = State.UNAVAILABLE, served(error).message
                raise
            if self._trace_file is not None:
                self.tracing.start(self._opened.session)
            self.state, self.reason = State.READY, ""

    async def unload(self) -> None:
        """Takes no more requests, waits for those that it has, and closes the session."""
        async with self._changing:
            if self._opened is not None:
                self.state, self.reason = State.UNLOADING, ""
                await self._idle.wait()
                await self._close()
            self.state, self.reason = State.UNAVAILABLE, "unloaded"

    async def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await asyncio.to_thread(self._end, opened)

    def _end(self, opened: Opened) -> None:
        opened.session.close()
        if self._trace_file is not None:
            try:
                write_trace(self.tracing.stop(opened.session), self._trace_file)
            except NavitEdgeError as error:  # a full disk: everything else goes on
                _log.error("the trace of %s cannot be written: %s", self.name, error)

    def _open(self) -> Opened:
        return Opened(manifest=manifests.load(self._path), session=self._open_session(self._path))


class Repository:
    """All models of a server. bundles: name -> bundle, as ``named`` gives it. spans: OpenTelemetry's, of requests.
    trace_file: gets a session's trace when the model is closed; of several models each has its own, t.NAME.json."""

    def __init__(
        self,
        bundles: Mapping[str, Path],
        *,
        limits: Limits,
        open_session: Callable[[Path], Session] = Session,
        spans: Spans | None = None,
        trace_file: Path | None = None,
    ) -> None:
        self.limits = limits
        self.workers = ThreadPoolExecutor(max(2, usable_cores()), thread_name_prefix="navit-edge decode")
        self.models = {
            name: Model(
                name, path, open_session, self.workers, spans, _of(trace_file, name if len(bundles) > 1 else "")
            )
            for name, path in bundles.items()
        }

    def model(self, name: str, version: str = "") -> Model:
        """Raises ServeError. version: "" for the one there is."""
        model = self.models.get(name)
        if model is None:
            raise ServeError(
                Code.NOT_FOUND, f"there is no model {name[:128]!r}; expected one of {', '.join(self.models)}"
            )
        if version not in ("", VERSION):
            raise ServeError(
                Code.NOT_FOUND, f'the model "{name}" has no version {version[:40]!r}; expected {VERSION}, or none'
            )
        return model

    @property
    def ready(self) -> bool:
        """Whether every model is that was not unloaded, and one is."""
        wanted = [model for model in self.models.values() if model.reason != "unloaded"]
        return bool(wanted) and all(model.ready for model in wanted)

    async def load(self) -> None:
        """All models. Raises what ``Session`` raises."""
        for model in self.models.values():
            await model.load()

    async def close(self) -> None:
        """Waits for what the models have taken, and closes them."""
        for model in self.models.values():
            await model.unload()
        self.workers.shutdown(wait=False, cancel_futures=True)


def _of(trace_file: Path | None, name: str) -> Path | None:
    """A model's own, t.NAME.json for t.json."""
    if trace_file is None or not name:
        return trace_file
    stem, dot, suffix = trace_file.name.partition(".")
    return trace_file.with_name(f"{stem}.{name}{dot}{suffix}")


def named(bundles: Sequence[Path], names: Sequence[str] = ()) -> dict[str, Path]:
    """name -> bundle. names: of the bundles in their order; without one a bundle has that of its folder, without
    ".navit". Raises InvalidInputError if two are equal, or a name is none that a URL can hold."""
    if len(names) > len(bundles):
        raise InvalidInputError(f"there are {len(names)} names for {len(bundles)} bundles; expected one for each")
    found: dict[str, Path] = {}
    for index, path in enumerate(bundles):
        name = names[index] if index < len(names) else path.absolute().name.removesuffix(".navit")
        if not _NAME.match(name):
            raise InvalidInputError(
                f"the bundle {path} has the name {name!r}; expected letters, digits, dots, dashes and underscores; "
                "give it one with --name"
            )
        if name in found:
            raise InvalidInputError(f"two bundles have the name {name!r}: {found[name]}, {path}; name them with --name")
        found[name] = path
    return found
