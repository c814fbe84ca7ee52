"""What people write before they have a server for it, for `serving.py` to compare with.

    python benchmarks/serving_peers.py fastapi|onnxruntime BUNDLE

``fastapi``: an endpoint that runs one image at a time, on the bundle's own engine. ``onnxruntime``: ONNX Runtime on the
bundle's float32 graph, one image a call, a call a core at once. Prints the address when it listens.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import uvicorn
from fastapi import FastAPI, Request, Response

import navit_edge as ne
from navit_edge_export.preprocess import pack

Image = npt.NDArray[np.uint8]
Run = Callable[[Image], npt.NDArray[np.float32]]  # -> logits [classes]


def one_at_a_time(bundle: Path) -> tuple[Run, int]:
    session, lock = ne.Session(bundle, device="cpu"), threading.Lock()

    def run(image: Image) -> npt.NDArray[np.float32]:
        with lock:
            (result,) = session.run([image])
        assert result.logits is not None
        return result.logits

    return run, 32


def onnxruntime_pool(bundle: Path) -> tuple[Run, int]:
    import onnxruntime as ort

    manifest = ne.load_manifest(bundle)
    (graph,) = (one for one in manifest.graphs if one.id == "masked")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(bundle / graph.file, options, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in graph.inputs]

    def run(image: Image) -> npt.NDArray[np.float32]:
        inputs = pack([image], patch_px=manifest.preprocess.patch_px).inputs()
        logits: npt.NDArray[np.float32] = session.run(["logits"], {name: inputs[name] for name in names})[0][0]
        return logits

    return run, len(os.sched_getaffinity(0))


def make_app(run: Run, threads: int) -> FastAPI:
    app, pool = FastAPI(), ThreadPoolExecutor(threads)

    @app.post("/infer")
    async def infer(request: Request, height: int, width: int) -> Response:
        image = np.frombuffer(await request.body(), np.uint8).reshape(height, width, 3)
        logits = await asyncio.get_running_loop().run_in_executor(pool, run, image)
        return Response(logits.tobytes(), media_type="application/octet-stream")

    return app


async def main() -> None:
    kind, bundle = sys.argv[1:]
    run, threads = {"fastapi": one_at_a_time, "onnxruntime": onnxruntime_pool}[kind](Path(bundle))
    server = uvicorn.Server(uvicorn.Config(make_app(run, threads), host="127.0.0.1", port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    print(f"http://{host}:{port}", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main())
