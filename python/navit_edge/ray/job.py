"""A job of `navit-edge run` on a Ray cluster: what stands in the place of its session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from navit_edge.bundle import manifest as manifests
from navit_edge.decode import DecodeOptions, Decoder, Recorded
from navit_edge.ray.ahead import loader
from navit_edge.ray.feed import Batch, RayFeed
from navit_edge.ray.job_actor import Task
from navit_edge.ray.pool import Pool, Size, connected


class RayJob:
    """engine, device, candidates, labels, decoder: as of ``navit_edge.Session``, of the actors. size: of the actors."""

    def __init__(self, ray: Any, pool: Pool[Batch], decoder: Decoder, with_results: bool) -> None:
        self._ray = ray
        self._pool = pool
        self._with_results = with_results
        self.decoder = decoder
        self.engine, self.device, self.candidates, self.labels = pool.described

    def feed(self, *, readers: int, batch_images: int, shared_paths: bool) -> RayFeed:
        """readers: threads of the driver that read files. batch_images: most of a batch. shared_paths: actors open the
        paths themselves."""
        load = loader(self.decoder, shared=shared_paths, keep_frames=self._with_results)
        return RayFeed(self._ray, self._pool, load, batch_images=batch_images, readers=readers)


@contextmanager
def opened(
    address: str, task: Task, *, actors: int, decode: DecodeOptions, threads: int, gpu: bool
) -> Iterator[RayJob]:
    """Connects, starts the actors and waits for the first. address: of ``pool.connected``. actors: how many; 0: as many
    as there is room for. threads: CPUs of each; 0: those of a node. gpu: each has one.

    Raises MissingPackageError, BackendError, BundleError and InvalidInputError.
    """
    decoder = Decoder(decode, Recorded.of(manifests.load(Path(task.bundle)).preprocess))
    with connected(address) as ray:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        size = Size.for_cluster(nodes, actors=actors, cpus=threads, gpus=int(gpu))
        with Pool[Batch](ray, task, size) as pool:
            yield RayJob(ray, pool, decoder, task.with_results)
