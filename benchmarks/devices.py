"""Images per second of several devices in one session, against one device.

    python benchmarks/devices.py [--bundle DIR] [--devices cpu:0 cpu:1] [--rounds 5] [--output FILE.json]

By default two engines on a core each against one engine on both, as a session opens it, and against one engine on both
cores that runs one pack at a time. On GPUs: `--devices 0 1`, against the first alone. Everyone takes the same images,
in turn, round by round, so that what else the machine does falls on all; the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import images as image_sets
from end_to_end import hardware
from rich.console import Console
from rich.table import Table

import navit_edge as ne
from navit_edge.compile import BuildRequest, build_engines
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.onnx_export import export_bundle


def contenders(bundle: Path, devices: list[str]) -> dict[str, ne.Session]:
    """What is compared, the several devices first."""
    opened = {"devices " + " ".join(devices): ne.Session(bundle, devices=devices)}
    if all(device.startswith("cpu:") for device in devices):
        threads = len(opened[next(iter(opened))].devices)
        opened[f"one engine, {threads} threads"] = ne.Session(bundle, threads=threads)
        opened[f"one engine, {threads} threads, one pack at a time"] = ne.Session(bundle, threads=threads, slots=1)
    else:
        opened["device " + devices[0]] = ne.Session(bundle, devices=devices[:1])
    return opened


def measure(sessions: dict[str, ne.Session], images: list[Any], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Images per second of each, by `run` and by `submit`, a number a round."""
    speeds: dict[str, dict[str, list[float]]] = {name: {"run": [], "submit": []} for name in sessions}
    for session in sessions.values():  # warm-up: shapes are prepared, paces learned
        session.run(images)
    for _ in range(rounds):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(images)
            speeds[name]["run"].append(len(images) / (time.perf_counter() - start))
            start = time.perf_counter()
            for future in [session.submit(image) for image in images]:
                future.result()
            speeds[name]["submit"].append(len(images) / (time.perf_counter() - start))
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--devices", nargs="+", default=[f"cpu:{core}" for core in sorted(os.sched_getaffinity(0))[:2]])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    console = Console()
    report: dict[str, Any] = {"hardware": hardware(), "devices": arguments.devices, "sets": {}}
    with tempfile.TemporaryDirectory() as scratch:
        bundle = arguments.bundle
        if bundle is None:
            with console.status("exporting S/16 and building its engine"):
                bundle = export_bundle(NaViTConfig(), Path(scratch) / "s16.navit", seed=0)
                build_engines(bundle, BuildRequest(backend="openvino"))
        sessions = contenders(bundle, arguments.devices)
        for name, grids in (("224 x 224", [(14, 14)]), ("mixed", image_sets.mixed_grids())):
            some = image_sets.images_of(grids)
            images = [some[i % len(some)] for i in range(arguments.images)]
            report["sets"][name] = measure(sessions, images, arguments.rounds)
        several = next(iter(sessions))
        report["shares"] = {device["name"]: device["images"] for device in sessions[several].devices}
        for session in sessions.values():
            session.close()
    table = Table("images", "who", "run, images/s", "of the devices'", "submit, images/s", "of the devices'")
    for name, speeds in report["sets"].items():
        best = {how: statistics.median(speeds[several][how]) for how in ("run", "submit")}
        for who, numbers in speeds.items():
            cells: list[str] = []
            for how in ("run", "submit"):
                median = statistics.median(numbers[how])
                cells += [f"{median:.1f}", f"{median / best[how]:.3f}"]
            table.add_row(name, who, *cells)
    console.print(table)
    console.print("images of each device:", report["shares"])
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")
        console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
