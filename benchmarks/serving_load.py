"""What `serving.py` is made of: servers in processes of their own, clients, and loops that offer requests."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import numpy.typing as npt
import tritonclient.grpc.aio as triton_grpc
import tritonclient.http.aio as triton_http
from tritonclient.utils import InferenceServerException

import navit_edge as ne
from navit_edge.bench.open_loop import Times, percentiles_ms

Image = npt.NDArray[np.uint8]
#: Sends image i, and returns its logits [classes], or raises ``RefusedError`` if the server says that it is full.
Send = Callable[[int], Awaitable[npt.NDArray[np.float32]]]

MODEL = "model"
TIMEOUT_S = 120.0
START_S = 120.0


class RefusedError(Exception):
    """503, or UNAVAILABLE of gRPC."""


# --- servers


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A server that listens. addresses: HOST:PORT of HTTP, then of gRPC."""

    pid: int
    addresses: list[str]


@contextlib.contextmanager
def process(command: Sequence[str], address: str) -> Iterator[Serving]:
    """A server; its addresses are what the groups of ``address`` match in its output. Ended by SIGTERM."""
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert running.stdout is not None
        said = ""
        for line in running.stdout:
            said += line
            found = re.search(address, said, re.DOTALL)
            if found:
                yield Serving(pid=running.pid, addresses=list(found.groups()))
                return
        raise RuntimeError(f"{command} ended before it listened: {said}")
    finally:
        running.terminate()
        try:
            running.wait(START_S)
        except subprocess.TimeoutExpired:
            running.kill()


def navit_edge_server(bundle: Path, queue_limit: int) -> contextlib.AbstractContextManager[Serving]:
    command = [
        sys.executable, "-m", "navit_edge", "serve", str(bundle), "--name", MODEL, "--http", "127.0.0.1:0",
        "--grpc", "127.0.0.1:0", "--queue-limit", str(queue_limit),
    ]  # fmt: skip
    return process(command, r"http://(\S+).*grpc://(\S+)")


def peer_server(kind: str, bundle: Path) -> contextlib.AbstractContextManager[Serving]:
    script = Path(__file__).with_name("serving_peers.py")
    return process([sys.executable, str(script), kind, str(bundle)], r"http://(\S+)")


def processor_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- clients


def in_process(session: ne.Session, images: Sequence[Image]) -> Send:
    async def send(index: int) -> npt.NDArray[np.float32]:
        future = session.try_submit(images[index])
        if future is None:
            raise RefusedError
        logits = (await future).logits
        assert logits is not None
        return logits

    return send


def _tensors(library: Any, image: Image) -> list[Any]:
    given = library.InferInput("pixels", list(image.shape), "UINT8")
    given.set_data_from_numpy(image)
    return [given]


@contextlib.asynccontextmanager
async def over_triton(library: Any, address: str, images: Sequence[Image]) -> AsyncIterator[Send]:
    """NVIDIA's client, by HTTP or gRPC; requests are made beforehand."""
    options = {"conn_limit": 4096, "conn_timeout": TIMEOUT_S} if library is triton_http else {}
    inputs = [_tensors(library, image) for image in images]
    outputs = [library.InferRequestedOutput("logits")]

    async with library.InferenceServerClient(address, **options) as client:

        async def send(index: int) -> npt.NDArray[np.float32]:
            try:
                answer = await client.infer(MODEL, inputs[index], outputs=outputs)
            except InferenceServerException as error:
                if str(error.status()) in ("503", "StatusCode.UNAVAILABLE"):
                    raise RefusedError from None
                raise
            logits: npt.NDArray[np.float32] = answer.as_numpy("logits")[0]
            return logits

        yield send


def over_http(address: str, images: Sequence[Image]) -> contextlib.AbstractAsyncContextManager[Send]:
    return over_triton(triton_http, address, images)


def over_grpc(address: str, images: Sequence[Image]) -> contextlib.AbstractAsyncContextManager[Send]:
    return over_triton(triton_grpc, address, images)


@contextlib.asynccontextmanager
async def over_peer(address: str, images: Sequence[Image]) -> AsyncIterator[Send]:
    """The pixels as the body, height and width in the query."""
    urls = [f"http://{address}/infer?height={image.shape[0]}&width={image.shape[1]}" for image in images]
    bodies = [image.tobytes() for image in images]
    connector = aiohttp.TCPConnector(limit=4096)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)

    async with aiohttp.ClientSession(connector=connector, timeout=timeout, raise_for_status=True) as client:

        async def send(index: int) -> npt.NDArray[np.float32]:
            async with client.post(urls[index], data=bodies[index]) as answer:
                return np.frombuffer(await answer.read(), np.float32)

        yield send


# --- loops


@dataclass(frozen=True, kw_only=True)
class Load:
    """What became of the requests of an open loop, in seconds from its start."""

    due: Times
    done: Times  # NaN of those that gave no result
    refused: int
    failed: list[str]
    late_sends: float  # share that the client sent more than 5 ms after their time

    def summary(self) -> dict[str, Any]:
        latency = (self.done - self.due)[~np.isnan(self.done)]
        answered = len(latency)
        over = float(np.nanmax(self.done)) if answered else 0.0
        return {
            "requests": len(self.due),
            "answered": answered,
            "refused": self.refused,
            "failed": len(self.failed),
            "failures": dict(collections.Counter(self.failed).most_common(3)),
            "images_per_second": answered / over if over else 0.0,
            **(percentiles_ms(latency) if answered else {"latency_ms_p50": None, "latency_ms_p99": None}),
            "client_late": self.late_sends,
        }


async def open_loop(send: Send, due: Times, chosen: npt.NDArray[np.int64]) -> Load:
    """Sends image chosen[i] at due[i], whatever became of those before it; returns when each has an answer."""
    done = np.full(len(due), np.nan)
    failed: list[str] = []
    refused = late = 0
    start = time.perf_counter() + 0.05

    async def one(index: int) -> None:
        nonlocal refused
        try:
            await asyncio.wait_for(send(int(chosen[index])), TIMEOUT_S)
        except RefusedError:
            refused += 1
        except Exception as error:
            failed.append(f"{type(error).__name__}: {str(error)[:100]}")
        else:
            done[index] = time.perf_counter() - start

    tasks = []
    for index, when in enumerate(due):
        await asyncio.sleep(max(0.0, start + when - time.perf_counter()))
        late += time.perf_counter() - start - when > 5e-3
        tasks.append(asyncio.create_task(one(index)))
    await asyncio.gather(*tasks)
    return Load(due=due, done=done, refused=refused, failed=failed, late_sends=late / max(1, len(due)))


async def closed_loop(send: Send, images: int, seconds: float, outstanding: int) -> tuple[int, float]:
    """(images, images per second) with so many requests always under way."""
    start = time.perf_counter()
    finished: list[float] = []

    async def worker(first: int) -> None:
        index = first
        while time.perf_counter() - start < seconds:
            await send(index % images)
            finished.append(time.perf_counter())
            index += outstanding

    await asyncio.gather(*(worker(first) for first in range(outstanding)))
    return len(finished), len(finished) / (max(finished) - start)


async def one_by_one(sends: dict[str, Send], repeats: int) -> dict[str, float]:
    """Milliseconds of a request with nothing beside it, all ways in turn: the median of each."""
    times: dict[str, list[float]] = {name: [] for name in sends}
    for repeat in range(repeats + 2):
        for name, send in sends.items():
            start = time.perf_counter()
            await send(0)
            if repeat >= 2:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in times.items()}
