"""Times of what runs on a device: medians, by events on a GPU, by the clock on a CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

Call = Callable[[], object]


def median_us(call: Call, device: str, *, rounds: int, warmup: int = 3) -> float:
    """The median of ``rounds`` calls, in microseconds, after ``warmup`` that are thrown away."""
    for _ in range(warmup):
        call()
    if device == "cuda":
        return _by_events_us(call, rounds)
    times: list[float] = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e6 * statistics.median(times)


def _by_events_us(call: Call, rounds: int) -> float:
    import torch

    torch.cuda.synchronize()
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(rounds)]  # type: ignore[no-untyped-call]
    for start, end in pairs:
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return 1e3 * float(statistics.median(start.elapsed_time(end) for start, end in pairs))


def captured(call: Call) -> Call:
    """The call as a CUDA graph. Raises what CUDA or PyTorch raises if it cannot be captured."""
    import torch

    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay
