"""The actors of a job on a Ray cluster: started, opened, replaced when they die."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from navit_edge.errors import BackendError, InvalidInputError, NavitEdgeError, import_or_explain
from navit_edge.ray.job_actor import Answer, Described, JobActor, Task

B = TypeVar("B")

#: Batches that an actor has at once: one that it computes, one that is there when it is done.
DEPTH = 2
#: Actors that may die one after another while no batch is done.
MOST_DEATHS = 24


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The package ``ray``, connected. address: "auto" (RAY_ADDRESS, or the cluster that this machine is part of),
    "local" (one that is started here and ends with the context), or host:port. A connection that there is already
    stays.

    Raises MissingPackageError, and BackendError if there is no such cluster.
    """
    ray = import_or_explain("ray", purpose="run --ray", remedy='pip install "navit-edge[ray]"')
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        quiet["include_dashboard"] = False
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BackendError(
            f"no Ray cluster answers at {address} ({' '.join(str(error).split())}); start one with ray start --head, "
            "name its address, or take --ray local"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many actors, and what each has of its node."""

    actors: int
    cpus: int
    gpus: int

    @staticmethod
    def for_cluster(nodes: list[dict[str, Any]], *, actors: int, cpus: int, gpus: int) -> Size:
        """nodes: what ``ray.nodes()`` says. 0 stands for: an actor on each node, with all its CPUs; with ``cpus`` or
        ``gpus`` as many as there is room for. Raises InvalidInputError if no node has room for one."""
        there = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]
        if not cpus:
            with_cpus = [count // max(1, gpu // gpus if gpus else 1) for count, gpu in there if count and gpu >= gpus]
            cpus = max(1, min(with_cpus, default=1))
        room = sum(min(count // cpus, gpu // gpus if gpus else count // cpus) for count, gpu in there)
        if room < 1:
            what = f"{cpus} CPU{'s' * (cpus != 1)}" + (f" and {gpus} GPU{'s' * (gpus != 1)}" if gpus else "")
            most = max((count for count, _ in there), default=0)
            raise InvalidInputError(
                f"no node of the cluster has {what} for an actor; the largest of {len(there)} has {most} CPUs; ask for "
                "fewer with --threads, or add nodes"
            )
        return Size(actors=actors or room, cpus=cpus, gpus=gpus)


@dataclass
class Actor(Generic[B]):
    """handle: Ray's. opening: its ``open``, until it has answered. running: its batches, the oldest first."""

    handle: Any
    opening: Any = None
    ready: bool = False
    running: deque[tuple[Any, B]] = field(default_factory=deque)


@dataclass(frozen=True, kw_only=True)
class Lost(Generic[B]):
    """Batches of an actor that died. suspect: the one that it computed; None if none was. cause: in words."""

    suspect: B | None
    others: list[B]
    cause: str


class Pool(Generic[B]):
    """Actors that do one task. For one thread's use. A context manager, which ends the actors.

    kind: their class; another one has the methods of ``JobActor``."""

    def __init__(self, ray: Any, task: Task, size: Size, kind: type = JobActor) -> None:
        self._ray = ray
        self._class = ray.remote(kind).options(
            num_cpus=size.cpus, num_gpus=size.gpus, max_restarts=0, max_task_retries=0
        )
        self.actors: list[Actor[B]] = [Actor(self._class.remote()) for _ in range(size.actors)]
        self._deaths = 0
        try:
            self.described, self._task = self._open_first(task)
        except BaseException:
            self.close()
            raise
        for actor in self.actors:
            if not actor.ready:
                actor.opening = actor.handle.open.remote(self._task)

    def _open_first(self, task: Task) -> tuple[Described, Task]:
        """The first actor that has a place says which engine it is for all."""
        while True:
            pings = [actor.handle.ping.remote() for actor in self.actors]
            first = self.actors[pings.index(self._ray.wait(pings)[0][0])]
            try:
                described: Described = self._ray.get(first.handle.open.remote(task))
            except self._ray.exceptions.RayTaskError as error:
                raise _of_task(error) from None
            except self._ray.exceptions.RayError as error:
                self._died(first, error)
                continue
            first.ready = True
            return described, task.on(described.engine)

    def __enter__(self) -> Pool[B]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the actors at once."""
        for actor in self.actors:
            self._ray.kill(actor.handle)
        self.actors.clear()

    def idle(self) -> Actor[B] | None:
        """The one with the fewest batches that takes another."""
        ready = [actor for actor in self.actors if actor.ready and len(actor.running) < DEPTH]
        return min(ready, key=lambda actor: len(actor.running), default=None)

    def send(self, actor: Actor[B], batch: B, payload: Any) -> None:
        """payload: what ``ray.put`` gave of what is sent."""
        actor.running.append((actor.handle.run.remote(payload), batch))

    @property
    def busy(self) -> bool:
        """Whether any actor has a batch."""
        return any(actor.running for actor in self.actors)

    def wait(self, timeout_s: float) -> Iterator[tuple[B, Answer] | Lost[B]]:
        """What has come meanwhile. Raises NavitEdgeError if an actor cannot open the bundle, or if they die one after
        another."""
        expected = {ref: actor for actor in self.actors for ref, _ in actor.running}
        expected |= {actor.opening: actor for actor in self.actors if actor.opening is not None}
        if not expected:
            return
        ready, _ = self._ray.wait(list(expected), num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = self._ray.wait(list(expected), num_returns=len(expected), timeout=0)
        for ref in ready:
            actor = expected[ref]
            if actor in self.actors:  # it may have died meanwhile
                yield from self._settle(actor, ref)

    def _settle(self, actor: Actor[B], ref: Any) -> Iterator[tuple[B, Answer] | Lost[B]]:
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(ref)
        except errors.RayTaskError as error:
            cause = _of_task(error)
            if ref == actor.opening or not isinstance(cause, BackendError):
                raise cause from None
            yield self._died(actor, cause)
            return
        except errors.RayError as error:
            yield self._died(actor, error)
            return
        if ref == actor.opening:
            actor.opening, actor.ready = None, True
            return
        place = next(place for place, (running, _) in enumerate(actor.running) if running == ref)
        batch = actor.running[place][1]
        del actor.running[place]
        self._deaths = 0
        yield batch, answer

    def _died(self, actor: Actor[B], error: Exception) -> Lost[B]:
        """Puts another actor in its place, which opens when the cluster has room for it."""
        cause = " ".join(str(error).split())
        self._deaths += 1
        if self._deaths > MOST_DEATHS:
            raise BackendError(f"{self._deaths} actors died one after another, the last with: {cause}")
        self._ray.kill(actor.handle)
        place = self.actors.index(actor)
        self.actors[place] = Actor(self._class.remote())
        if hasattr(self, "_task"):
            self.actors[place].opening = self.actors[place].handle.open.remote(self._task)
        batches = [batch for _, batch in actor.running]
        return Lost(suspect=batches[0] if batches else None, others=batches[1:], cause=cause)


def _of_task(error: Any) -> Exception:
    """What a call in an actor raised."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, NavitEdgeError) else error
