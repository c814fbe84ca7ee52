"""A bundle behind Ray Serve, which starts replicas by the time that the queue is predicted to take.

    pip install "navit-edge[ray]" "ray[serve]"
    python examples/serve_ray.py model.navit --target-ms 200 --max-replicas 8
    curl -s --data-binary @photo.jpg 'http://127.0.0.1:8000/?top_k=3'

A count of requests says little if images have between 16 and 4096 tokens. Each replica plans what waits for it, as a
run of a session is planned, and reports the predicted time; as many replicas are wanted as bring that down to the
target.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy, HTTPOptions
from starlette.requests import Request
from starlette.responses import JSONResponse

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.planning import PlanLimits, plan_packs
from navit_edge.policy import choose

#: What replicas report, in milliseconds.
QUEUE = "queue_ms"


class QueueTime:
    """How many replicas it takes until what waits is predicted to be done in ``target_ms``."""

    def __init__(self, target_ms: float = 200.0) -> None:
        self._target_ms = target_ms

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        reported = (context.aggregated_metrics or {}).get(QUEUE, {})
        return sum(reported.values()) / self._target_ms, {}


class Model:
    """A replica: one session, which batches by itself what is submitted to it."""

    def __init__(self, bundle: str, threads: int) -> None:
        self._bundle = bundle
        self._session = ne.Session(bundle, threads=threads)
        engine = next(one for one in manifests.load(Path(bundle)).engines if one.id == self._session.engine)
        self._limits = PlanLimits.of(Path(bundle), engine, threads=threads)
        self._waiting: dict[int, int] = {}  # request -> tokens
        self._requests = 0

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Ray Serve asks for now and then: how long the images that wait are predicted to take."""
        waiting = list(self._waiting.values())
        return {QUEUE: plan_packs(waiting, self._limits).predicted_ms if waiting else 0.0}

    async def __call__(self, request: Request) -> JSONResponse:
        top_k = int(request.query_params.get("top_k", "5"))
        body = await request.body()
        try:
            tokens = await asyncio.to_thread(self._tokens, body)
        except ne.InvalidInputError as error:
            return JSONResponse({"error": str(error)}, 400)
        self._requests += 1
        number = self._requests
        self._waiting[number] = tokens
        begun = time.perf_counter()
        try:
            result = await self._session.submit(body)
        except (ne.InvalidInputError, ne.OverBudgetError) as error:
            return JSONResponse({"error": str(error)}, 400)
        finally:
            del self._waiting[number]
        answer = result.to_dict(top_k=top_k)
        return JSONResponse(answer | {"replica_ms": (time.perf_counter() - begun) * 1e3, "replica": os.getpid()})

    def _tokens(self, body: bytes) -> int:
        """Of the image, by its header."""
        size = self._session.decoder.size_of(body)
        return choose(self._bundle, [size], ne.Policy.native(), engine=self._session.engine)[0].tokens


def application(bundle: str, *, threads: int, target_ms: float, max_replicas: int, react_s: float = 5.0) -> Any:
    """react_s: how long the queue has to be too long before replicas are started; they end after ten times as long."""
    scaling = AutoscalingConfig(
        min_replicas=1,
        max_replicas=max_replicas,
        metrics_interval_s=min(1.0, react_s),
        look_back_period_s=2 * react_s,
        upscale_delay_s=react_s,
        downscale_delay_s=10 * react_s,
        policy=AutoscalingPolicy(policy_function=QueueTime, policy_kwargs={"target_ms": target_ms}),
    )
    deployment = serve.deployment(
        Model,
        name="navit-edge",
        autoscaling_config=scaling,
        max_ongoing_requests=1024,  # the session's own queue
        ray_actor_options={"num_cpus": threads},
    )
    return deployment.bind(bundle, threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--address", help="of a Ray cluster; without it one is started here")
    parser.add_argument("--threads", type=int, default=1, help="CPUs of a replica")
    parser.add_argument("--target-ms", type=float, default=200.0, help="what the queue may take")
    parser.add_argument("--react-s", type=float, default=5.0, help="how long it may take longer")
    parser.add_argument("--max-replicas", type=int, default=8)
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address=options.address or "local", log_to_driver=False)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=options.port))
    app = application(
        str(options.bundle.resolve()),
        threads=options.threads,
        target_ms=options.target_ms,
        max_replicas=options.max_replicas,
        react_s=options.react_s,
    )
    serve.run(app, blocking=True)


if __name__ == "__main__":
    main()
