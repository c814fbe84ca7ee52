"""What the server costs over `Session.submit`, what clients wait at 50, 80 and 120 % of capacity, and beyond.

    python benchmarks/serving.py [--bundle DIR] [--seconds 7] [--perf-analyzer FILE] [--output benchmarks/serving.json]

Clients and servers share the machine, so that a request pays for its client, too; the client is NVIDIA's tritonclient,
over HTTP and gRPC, with raw pixels. Loads are shares of the images per second of `Session.submit` on the same images.
Loads are open loops: requests come by a Poisson process whose times are drawn beforehand, and latency counts from
those times (no coordinated omission). Beside the server stand what people write before they have one
(`serving_peers.py`): the same engine behind FastAPI, one image at a time, and ONNX Runtime in a thread pool.

--perf-analyzer: NVIDIA's program of that name, to measure the server without any code of ours. The wheel of
tritonclient 2.47.0 has it; it needs libb64 and the CUDA runtime, which the wheel nvidia-pytriton brings.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import csv
import io
import json
import os
import statistics
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import images as image_sets
import numpy as np
import numpy.typing as npt
import PIL.Image
from end_to_end import hardware
from rich.console import Console
from rich.table import Table
from serving_load import (
    MODEL,
    Send,
    closed_loop,
    in_process,
    navit_edge_server,
    one_by_one,
    open_loop,
    over_grpc,
    over_http,
    over_peer,
    peer_server,
    processor_s,
)

import navit_edge as ne
from navit_edge.bench.open_loop import arrivals
from navit_edge.compile import BuildRequest, build_engines
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.onnx_export import export_bundle

LOADS = (0.5, 0.8, 1.2)
PAST = (2.0, 4.0)
#: Of the server: what waits beyond it is refused.
QUEUE_LIMIT = 128
OUTSTANDING = 32
ROUNDS = 3
ALONE_REPEATS = 40
OURS = ("submit", "http", "grpc")
PEERS = ("fastapi", "onnxruntime")
AIM_THROUGHPUT = 0.10
AIM_P50_MS = 2.0
AIM_PAST = 0.10

Image = npt.NDArray[np.uint8]


async def measure(bundle: Path, seconds: float, perf_analyzer: str | None, console: Console) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    most = ne.load_manifest(bundle).preprocess.sizing.max_tokens or 1024  # so that nobody resizes
    grids = image_sets.mixed_grids(most=min(1024, most))
    square, mixed = image_sets.images_of([(14, 14)]), image_sets.images_of(grids)
    images = [*square, *mixed]
    async with AsyncExitStack() as clients:
        with ExitStack() as servers:
            with console.status("starting the servers"):
                ours = servers.enter_context(navit_edge_server(bundle, QUEUE_LIMIT))
                peers = {kind: servers.enter_context(peer_server(kind, bundle)) for kind in PEERS}
                session = servers.enter_context(ne.Session(bundle, device="cpu", queue_limit=QUEUE_LIMIT))
            http, grpc = ours.addresses
            sends: dict[str, Send] = {"submit": in_process(session, images)}
            sends["http"] = await clients.enter_async_context(over_http(http, images))
            sends["grpc"] = await clients.enter_async_context(over_grpc(grpc, images))
            for kind, peer in peers.items():
                sends[kind] = await clients.enter_async_context(over_peer(peer.addresses[0], images))
            pids = {"submit": os.getpid(), "http": ours.pid, "grpc": ours.pid}
            pids |= {kind: peer.pid for kind, peer in peers.items()}
            with console.status("warming up, and comparing the logits"):
                differences = await compare(sends, session, images)
            report: dict[str, Any] = {"engine": session.engine, "logits_differ_at_most": differences}
            with console.status("one request at a time"):
                report["alone_ms_p50"] = await one_by_one(sends, ALONE_REPEATS)
            report["images_per_second"], report["processor_ms_per_image"] = {}, {}
            for name, indices in (("224 x 224", range(1)), ("mixed", range(1, len(images)))):
                with console.status(f"throughput, {name}"):
                    rates, costs = await throughput(sends, pids, indices, seconds)
                report["images_per_second"][name], report["processor_ms_per_image"][name] = rates, costs
            mixed_images = np.arange(1, len(images))
            capacity = report["images_per_second"]["mixed"]["submit"]
            report["loads"] = []
            for share in LOADS:
                due = arrivals(share * capacity, seconds, rng)
                chosen = rng.choice(mixed_images, len(due))
                row: dict[str, Any] = {"load": share}
                for name, send in sends.items():
                    with console.status(f"load {share:.0%}, {name}"):
                        row[name] = (await open_loop(send, due, chosen)).summary()
                report["loads"].append(row)
            report["past_saturation"] = []
            for share in PAST:
                due = arrivals(share * capacity, seconds, rng)
                chosen = rng.choice(mixed_images, len(due))
                row = {"load": share}
                for name in ("http", "grpc"):
                    with console.status(f"load {share:.0%}, {name}"):
                        row[name] = (await open_loop(sends[name], due, chosen)).summary()
                report["past_saturation"].append(row)
            if perf_analyzer:
                rate = report["images_per_second"]["224 x 224"]["submit"]
                with console.status("perf_analyzer"):
                    report["perf_analyzer"] = await asyncio.to_thread(
                        analyzed, perf_analyzer, {"http": http, "grpc": grpc}, square[0], rate, seconds
                    )
            await clients.aclose()
        return report


async def compare(sends: dict[str, Send], session: ne.Session, images: Sequence[Image]) -> dict[str, float]:
    """The largest difference of any image's logits from `Session.run`, over the largest of them; by all ways."""
    expected = [result.numpy()["logits"] for result in session.run(images)]
    differences = {}
    for name, send in sends.items():
        found = [await send(index) for index in range(len(images))]
        most = max(float(np.abs(f - e).max() / np.abs(e).max()) for f, e in zip(found, expected, strict=True))
        if most > 0.1:
            raise RuntimeError(f"{name} gives other logits: {most}")
        differences[name] = most
    return differences


async def throughput(
    sends: dict[str, Send], pids: dict[str, int], indices: range, seconds: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Images per second of each way, OUTSTANDING requests under way: ours in turn, the median of ROUNDS. And the
    processor time of the server's process for an image, in ms; of `submit` that of this process."""
    rates: dict[str, list[float]] = {name: [] for name in sends}
    costs: dict[str, list[float]] = {name: [] for name in sends}
    for repeat in range(ROUNDS):
        for name, send in sends.items():
            if repeat and name not in OURS:
                continue

            async def shifted(index: int, send: Send = send) -> npt.NDArray[np.float32]:
                return await send(indices.start + index)

            before = processor_s(pids[name])
            images, rate = await closed_loop(shifted, len(indices), 0.4 * seconds, OUTSTANDING)
            costs[name].append(1e3 * (processor_s(pids[name]) - before) / images)
            rates[name].append(rate)
    rate_of, cost_of = ({name: statistics.median(of) for name, of in found.items()} for found in (rates, costs))
    return rate_of, cost_of


def analyzed(
    program: str, addresses: dict[str, str], image: Image, rate: float, seconds: float
) -> list[dict[str, Any]]:
    """NVIDIA's perf_analyzer at the first two loads, on 224 x 224 as JPEG, all outputs asked for."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "JPEG")
    file = buffer.getvalue()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data.json"
        given = base64.b64encode(struct.pack("<I", len(file)) + file).decode()
        data.write_text(json.dumps({"data": [{"images": {"b64": given, "shape": [1]}}]}), "utf-8")
        for protocol, address in addresses.items():
            for share in LOADS[:2]:
                report = Path(scratch) / f"{protocol}-{share}.csv"
                command = [
                    program, "-m", MODEL, "-i", protocol, "-u", address, "--input-data", str(data), "-f", str(report),
                    "--async", "--request-rate-range", f"{share * rate:.2f}", "--request-distribution", "poisson",
                    "--request-count", str(max(20, int(share * rate * seconds))),
                ]  # fmt: skip
                ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
                row: dict[str, Any] = {"protocol": protocol, "load": share}
                if report.is_file():
                    (values,) = csv.DictReader(report.open(encoding="utf-8"))
                    row |= {
                        "images_per_second": float(values["Inferences/Second"]),
                        "latency_ms_p50": float(values["p50 latency"]) / 1e3,
                        "latency_ms_p99": float(values["p99 latency"]) / 1e3,
                    }
                else:
                    row["failed"] = (ran.stdout + ran.stderr)[-400:]
                rows.append(row)
    return rows


def judged(report: dict[str, Any]) -> dict[str, Any]:
    """The aims, and what was found."""
    found: dict[str, Any] = {}
    alone, rates = report["alone_ms_p50"], report["images_per_second"]
    for name in ("http", "grpc"):
        peak = max(rates["mixed"][name], *(row[name]["images_per_second"] for row in report["loads"]))
        past = [row[name] for row in report["past_saturation"]]
        found[name] = {
            "overhead_224": 1 - rates["224 x 224"][name] / rates["224 x 224"]["submit"],
            "overhead_mixed": 1 - rates["mixed"][name] / rates["mixed"]["submit"],
            "overhead_ms_p50": alone[name] - alone["submit"],
            "past_saturation": min(one["images_per_second"] for one in past) / peak,
            "every_request_answered": all(one["failed"] == 0 for one in past),
        }
    return found


def show(report: dict[str, Any], console: Console) -> None:
    table = Table(title="nothing beside it, and 32 requests under way; the client's work included")
    columns = ("images/s, 224 x 224", "images/s, mixed", "CPU ms an image, 224 x 224", "CPU ms an image, mixed")
    for column in ("", "p50 ms", *columns):
        table.add_column(column, justify="right")
    for name, alone in report["alone_ms_p50"].items():
        figures = [*report["images_per_second"].values(), *report["processor_ms_per_image"].values()]
        table.add_row(name, f"{alone:.1f}", *(f"{one[name]:.1f}" for one in figures))
    console.print(table)
    table = Table(title="mixed images, open loop, load as a share of what submit does")
    for column in ("load", "", "requests", "p50 ms", "p99 ms", "images/s", "503", "failed"):
        table.add_column(column, justify="right")
    for row in [*report["loads"], *report["past_saturation"]]:
        for name in (key for key in row if key != "load"):
            one = row[name]
            latencies = [one["latency_ms_p50"], one["latency_ms_p99"]]
            table.add_row(
                f"{row['load']:.0%}",
                name,
                str(one["requests"]),
                *("" if value is None else f"{value:.0f}" for value in latencies),
                f"{one['images_per_second']:.1f}",
                str(one["refused"]),
                str(one["failed"]),
            )
    console.print(table)
    for row in report.get("perf_analyzer", []):
        console.print("perf_analyzer, 224 x 224:", row)
    for name, one in report["judged"].items():
        console.print(
            f"{name}: {one['overhead_224']:.1%} (224 x 224) and {one['overhead_mixed']:.1%} (mixed) fewer images/s "
            f"than submit (aim: {AIM_THROUGHPUT:.0%}); {one['overhead_ms_p50']:.2f} ms more at p50 (aim: "
            f"{AIM_P50_MS:g}); past saturation {one['past_saturation']:.1%} of the peak (aim: {1 - AIM_PAST:.0%}); "
            f"every request answered: {one['every_request_answered']}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="an S/16 bundle with an OpenVINO engine; made if not given")
    parser.add_argument("--seconds", type=float, default=7.0, help="of each load")
    parser.add_argument("--perf-analyzer", help="the program, if it is there")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("serving.json"))
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = arguments.bundle
        if bundle is None:
            with console.status("exporting S/16 and building its engine"):
                bundle = export_bundle(NaViTConfig(), Path(scratch) / "s16.navit", seed=0)
                build_engines(bundle, BuildRequest(backend="openvino"))
        report: dict[str, Any] = {"hardware": hardware(), "seconds": arguments.seconds, "queue_limit": QUEUE_LIMIT}
        report |= asyncio.run(measure(bundle, arguments.seconds, arguments.perf_analyzer, console))
    report["judged"] = judged(report)
    show(report, console)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
