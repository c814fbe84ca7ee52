"""What a model has done, as the statistics extension of the Open Inference Protocol tells it, over HTTP and gRPC alike.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from navit_edge.serve.repository import Repository

#: ``session.metrics.stats()``, and what is told of it.
Stats: TypeAlias = Mapping[str, Any]

NS_IN_S = 1_000_000_000


@dataclass
class Durations:
    """How many there were, and how long they took in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns

    def told(self) -> dict[str, int]:
        return {"count": self.count, "ns": self.ns}


@dataclass
class RequestStatistics:
    """The requests for one model, of all surfaces; one thread, the event loop's. Kept while a model is unloaded."""

    success: Durations = field(default_factory=Durations)
    fail: Durations = field(default_factory=Durations)
    last_inference_ms: int = 0  # since 1970; 0: none yet

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts what happens inside as one request: as failed if it raises, or is cancelled."""
        self.last_inference_ms = time.time_ns() // 1_000_000
        began = time.monotonic_ns()
        kind = self.fail
        try:
            yield
            kind = self.success
        finally:
            kind.add(time.monotonic_ns() - began)


def statistics_of(repository: Repository, name: str = "", version: str = "") -> dict[str, Any]:
    """The answer of the protocol: of one model, or of all that are loaded. Raises ServeError."""
    if name:
        model = repository.model(name, version)
        if model.session is None:
            raise model.not_ready or AssertionError("a model without a session is not ready")
        models = [model]
    else:
        models = [model for model in repository.models.values() if model.session is not None]
    told = []
    for model in models:
        assert model.session is not None
        told.append(model_statistics(model.name, model.version, model.statistics, model.session.metrics.stats()))
    return {"model_stats": told}


def model_statistics(name: str, version: str, requests: RequestStatistics, stats: Stats) -> dict[str, Any]:
    """One entry of ``model_stats``. stats: of the model's session.

    ``success`` and ``fail`` are of requests, from the request that is read to the answer that is ready. A request has
    any number of images, and a pack images of several requests: ``inference_count`` and ``queue`` are of images,
    ``execution_count``, ``compute_input``, ``compute_infer`` and ``compute_output`` of packs.
    """
    return {
        "name": name,
        "version": version,
        "last_inference": requests.last_inference_ms,
        "inference_count": stats["images"]["completed"],
        "execution_count": stats["packs"]["completed"],
        "inference_stats": {
            "success": requests.success.told(),
            "fail": requests.fail.told(),
            "queue": _durations(stats["queue_s"]),
            "compute_input": _durations(stats["preprocess_s"]),
            "compute_infer": _durations(stats["engine_s"]),
            "compute_output": _durations(stats["unpack_s"]),
            "cache_hit": Durations().told(),
            "cache_miss": Durations().told(),
        },
        "batch_stats": [],
    }


def _durations(histogram: Mapping[str, Any]) -> dict[str, int]:
    return {"count": int(histogram["count"]), "ns": round((histogram["sum"] or 0.0) * NS_IN_S)}
