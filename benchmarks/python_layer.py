"""Processor time that the Python layer takes for each image, in microseconds: submit and its delivery, stream, run.

    python benchmarks/python_layer.py [--images 20000] [--rounds 5] [--bundle DIR]

Images of one patch through a model of one layer, so that Python is busy all the time. Counted is the processor time of
the Python threads (the caller's, the delivery thread's, the feeder's), not that of the session's own threads; unlike
wall time it depends little on what else the machine does. What C++ does within the call (checks, queueing) is included.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

import navit_edge as ne

IMAGE = np.zeros((16, 16, 3), np.uint8)


def make_bundle(path: Path) -> Path:
    """A model of one layer and width 64 with an OpenVINO engine."""
    from navit_edge.compile import BuildRequest, build_engines
    from navit_edge_export.model import NaViT, NaViTConfig
    from navit_edge_export.onnx_export import export_bundle

    config = NaViTConfig(width=64, depth=1, heads=1, mlp_width=64, position_entries=16, num_classes=10)
    export_bundle(NaViT(config, seed=0).eval(), path, max_tokens=256, outputs=("logits", "embedding"))
    build_engines(path, BuildRequest(backend="openvino", token_budgets=(1024,), precision=("fp32",)))
    return path


def submit_us(session: ne.Session, count: int) -> float:
    """Of the caller and the delivery thread."""
    clock: list[float] = []

    def note(_: object) -> None:
        clock.append(time.thread_time())

    first = session.submit(IMAGE)
    first.add_done_callback(note)
    session.drain()
    start = time.thread_time()
    futures = [session.submit(IMAGE) for _ in range(count)]
    calling = time.thread_time() - start
    futures[-1].add_done_callback(note)
    session.drain()
    last = session.submit(IMAGE)
    last.add_done_callback(note)
    session.drain()
    return (calling + clock[-1] - clock[0]) / count * 1e6


def call_us(session: ne.Session, count: int) -> float:
    """Of the call to ``submit`` alone."""
    start = time.thread_time()
    futures = [session.submit(IMAGE) for _ in range(count)]
    calling = time.thread_time() - start
    session.drain()
    assert all(future.done() for future in futures)
    return calling / count * 1e6


def stream_us(session: ne.Session, count: int) -> float:
    """Of the reader and the feeder thread."""
    feeding: list[float] = []

    def source() -> Iterator[npt.NDArray[np.uint8]]:
        start = time.thread_time()
        yield from itertools.repeat(IMAGE, count)
        feeding.append(time.thread_time() - start)

    start = time.thread_time()
    got = sum(1 for _ in session.stream(source(), capacity=256))
    assert got == count
    return (time.thread_time() - start + feeding[0]) / count * 1e6


def run_us(session: ne.Session, count: int) -> float:
    """Of the caller: what ``run`` adds before and after the C++ call, and C++'s planning in it."""
    start = time.thread_time()
    session.run([IMAGE] * count)
    return (time.thread_time() - start) / count * 1e6


def asyncio_us(session: ne.Session, count: int) -> float:
    """Of the event loop: awaiting ``count`` images, 500 gathered at a time."""

    async def main() -> float:
        start = time.thread_time()
        for _ in range(count // 500):
            await asyncio.gather(*(session.submit(IMAGE) for _ in range(500)))
        return time.thread_time() - start

    return asyncio.run(main()) / (count // 500 * 500) * 1e6


ROWS: dict[str, Callable[[ne.Session, int], float]] = {
    "`submit`, the call": call_us,
    "`submit` and the future, resolved": submit_us,
    "`stream`, feeder and reader": stream_us,
    "`run`": run_us,
    "`await session.submit(...)`, with asyncio's part": asyncio_us,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bundle", type=Path)
    arguments = parser.parse_args()
    table = Table("processor time of Python threads", "µs an image", "least", "most", box=None)
    with tempfile.TemporaryDirectory() as folder:
        bundle = arguments.bundle or make_bundle(Path(folder) / "layer.navit")
        with ne.Session(bundle, precision="fp32") as session:
            session.run([IMAGE] * 64)
            for name, measure in ROWS.items():
                measured = [measure(session, arguments.images) for _ in range(arguments.rounds)]
                middle = statistics.median(measured)
                table.add_row(name, f"{middle:.1f}", f"{min(measured):.1f}", f"{max(measured):.1f}")
    Console().print(table)
    print(f"{arguments.images} images, {arguments.rounds} rounds, threads left: {threading.active_count()}")


if __name__ == "__main__":
    main()
