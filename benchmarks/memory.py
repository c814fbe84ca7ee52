"""Resident memory at the plateau, and images per second, by the shape quantum and the capacity of the runtime cache.

    python benchmarks/memory.py [--bundle DIR] [--packs 2000] [--rounds 7] [--output benchmarks/memory.json]

Memory: each combination in a process of its own, which runs random packs until the memory no longer grows. Speed: all
combinations in one process, in turn in every round; a ratio is the median over rounds of the ratio within a round, to
a session that rounds nothing and keeps 5000 of everything, which is OpenVINO's own default. "new": grids that no round
had before; "again": those of the first round. Besides the clock the CPU time of the process is compared, which other
work on the machine changes less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from images import mixed_grids
from rich.console import Console
from rich.table import Table

import navit_edge as ne

Grids = list[tuple[int, int]]
Images = list[npt.NDArray[np.uint8]]

BEFORE = (1, 5000)
#: (shape_quantum, CPU_RUNTIME_CACHE_CAPACITY)
COMBINATIONS = [
    BEFORE,
    (8, 5000),
    *[(quantum, cache) for quantum in (8, 16, 32) for cache in (16, 32, 64, 128)],
    (8, 0),
]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model and what comes to it.

    Attributes:
        name: In the table.
        model: "s16" or "tiny".
        grids: Seed -> grids of the images of one run.
    """

    name: str
    model: str
    grids: Callable[[int], Grids]


def _photographs(seed: int) -> Grids:
    """Up to eight photographs as cameras take them, at 144 to 576 tokens."""
    rng = np.random.default_rng(seed)
    grids = []
    for _ in range(rng.integers(1, 9)):
        ratio = rng.choice([1.0, 4 / 3, 3 / 2, 16 / 9]) ** rng.choice([-1, 1])
        tokens = rng.integers(144, 577)
        grids.append((max(1, int((tokens * ratio) ** 0.5)), max(1, int((tokens / ratio) ** 0.5))))
    return grids


def _mixed(seed: int) -> Grids:
    return mixed_grids(int(np.random.default_rng(seed).integers(1, 9)), seed=seed)


def _tiny(seed: int) -> Grids:
    rng = np.random.default_rng(seed)
    return [(int(rng.integers(1, 17)), int(rng.integers(1, 17))) for _ in range(rng.integers(1, 10))]


WORKLOADS = {
    one.name: one
    for one in (
        Workload(name="mixed", model="s16", grids=_mixed),
        Workload(name="photographs", model="s16", grids=_photographs),
        Workload(name="tiny", model="tiny", grids=_tiny),
    )
}


def _options(combination: tuple[int, int]) -> dict[str, str]:
    quantum, capacity = combination
    return {"shape_quantum": str(quantum), "CPU_RUNTIME_CACHE_CAPACITY": str(capacity)}


def _images(grids: Grids, patch_px: int, noise: npt.NDArray[np.uint8]) -> Images:
    return [noise[: rows * patch_px, : columns * patch_px] for rows, columns in grids]


def _noise(patch_px: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (patch_px * 64, patch_px * 64, 3), np.uint8)


def _hardware() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), "")
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "openvino": version("openvino")}


def _status(field: str) -> float:
    """MiB."""
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) / 1024


def grow(bundle: Path, workload: Workload, combination: tuple[int, int], packs: int) -> dict[str, Any]:
    """Runs so many packs in this process; resident MiB on the way."""
    patch_px = ne.load_manifest(bundle).preprocess.patch_px
    noise = _noise(patch_px)
    before = _status("VmRSS")
    session = ne.Session(bundle, device="cpu", options=_options(combination))
    done, seed, resident = 0, 0, {}
    marks = [packs * part // 8 for part in range(1, 9)]
    while marks:
        session.run(_images(workload.grids(seed), patch_px, noise))
        seed += 1
        done += len(session.last_report["packs"])
        if done >= marks[0]:
            resident[marks.pop(0)] = round(_status("VmRSS"), 1)
    session.close()
    return {"before": round(before, 1), "resident": resident, "closed": round(_status("VmRSS"), 1)}


def grow_in_a_process(bundle: Path, workload: Workload, combination: tuple[int, int], packs: int) -> dict[str, Any]:
    asked = json.dumps([str(bundle), workload.name, combination, packs])
    ran = subprocess.run([sys.executable, __file__, "--child", asked], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def speed(bundle: Path, workload: Workload, rounds: int, runs: int, console: Console) -> dict[str, dict[str, float]]:
    """Combination -> its images/s and its ratios to BEFORE."""
    patch_px = ne.load_manifest(bundle).preprocess.patch_px
    noise = _noise(patch_px)
    sessions = {one: ne.Session(bundle, device="cpu", options=_options(one)) for one in COMBINATIONS}
    took: dict[tuple[str, tuple[int, int]], list[tuple[float, float]]] = {}
    counts: dict[str, int] = {"new": 0, "again": 0}
    for number in range(rounds + 1):  # the first warms up
        for kind in ("new", "again"):
            first = (number if kind == "new" else 0) * runs + 1_000_000
            batches = [_images(workload.grids(first + i), patch_px, noise) for i in range(runs)]
            for combination, session in sessions.items():
                with console.status(f"{workload.name}, round {number} of {rounds}: {kind}, {combination}"):
                    wall, cpu = time.perf_counter(), time.process_time()
                    for batch in batches:
                        session.run(batch)
                    passed = (time.perf_counter() - wall, time.process_time() - cpu)
                if number > 0:
                    took.setdefault((kind, combination), []).append(passed)
            counts[kind] = sum(len(batch) for batch in batches)
    found: dict[str, dict[str, float]] = {}
    for combination in COMBINATIONS:
        row = found.setdefault(f"{combination[0]}x{combination[1]}", {})
        for kind in ("new", "again"):
            own, base = took[kind, combination], took[kind, BEFORE]
            row[f"{kind}_images_per_s"] = round(counts[kind] / statistics.median(wall for wall, _ in own), 1)
            for index, clock in enumerate(("wall", "cpu")):
                ratios = [theirs[index] / mine[index] for mine, theirs in zip(own, base, strict=True)]
                row[f"{kind}_{clock}_ratio"] = round(statistics.median(ratios), 3)
    return found


def tiny_bundle(directory: Path) -> Path:
    """A tiny NaViT: width 64, two layers, patches of 4 pixels."""
    from navit_edge.compile import BuildRequest, build_engines
    from navit_edge_export.model.config import NaViTConfig
    from navit_edge_export.onnx_export import export_bundle

    config = NaViTConfig(width=64, depth=2, heads=4, mlp_width=256, patch_px=4, num_classes=5)
    bundle = export_bundle(config, directory / "tiny.navit", seed=0)
    build_engines(bundle, BuildRequest(backend="openvino", token_budgets=(1024,), max_images=(16,)))
    return bundle


def show(report: dict[str, Any], console: Console) -> None:
    for name, rows in report["workloads"].items():
        table = Table(title=name)
        for column in ("quantum x capacity", "MiB at 1/4", "MiB at the end", "MiB closed", "images/s new", "wall, cpu"):
            table.add_column(column, justify="right")
        table.add_column("images/s again", justify="right")
        table.add_column("wall, cpu", justify="right")
        for combination, row in rows.items():
            resident = list(row.get("resident", {"": 0}).values())
            cells = [combination, f"{resident[len(resident) // 4 - 1]}", f"{resident[-1]}", f"{row.get('closed', 0)}"]
            for kind in ("new", "again"):
                cells.append(f"{row.get(f'{kind}_images_per_s', 0)}")
                cells.append(f"{row.get(f'{kind}_wall_ratio', 0)}, {row.get(f'{kind}_cpu_ratio', 0)}")
            table.add_row(*cells)
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, required="--child" not in sys.argv, help="an S/16 bundle with engines")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--packs", type=int, default=2000, help="packs until the memory is read; 0: speed alone")
    parser.add_argument("--rounds", type=int, default=7, help="0: memory alone")
    parser.add_argument("--runs", type=int, default=6, help="runs of a round")
    parser.add_argument("--only", help="of the combinations, as 1x5000,8x32")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("memory.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        bundle, name, combination, packs = json.loads(arguments.child)
        print(json.dumps(grow(Path(bundle), WORKLOADS[name], tuple(combination), packs)))
        return
    console = Console(width=140)
    if arguments.only:
        chosen = [tuple(map(int, one.split("x"))) for one in arguments.only.split(",")]
        COMBINATIONS[:] = [BEFORE, *(one for one in COMBINATIONS if one in chosen and one != BEFORE)]
    report: dict[str, Any] = {"hardware": _hardware(), "packs": arguments.packs, "workloads": {}}
    with tempfile.TemporaryDirectory() as scratch:
        bundles = {"s16": arguments.bundle}
        for name in arguments.workloads.split(","):
            workload = WORKLOADS[name]
            if workload.model not in bundles:
                with console.status("exporting the tiny model and building its engines"):
                    bundles[workload.model] = tiny_bundle(Path(scratch))
            bundle = bundles[workload.model]
            rows: dict[str, dict[str, Any]] = {f"{quantum}x{cache}": {} for quantum, cache in COMBINATIONS}
            if arguments.rounds > 0:
                for key, row in speed(bundle, workload, arguments.rounds, arguments.runs, console).items():
                    rows[key] |= row
            if arguments.packs > 0:
                for combination in COMBINATIONS:
                    with console.status(f"{name}: memory with {combination}"):
                        rows[f"{combination[0]}x{combination[1]}"] |= grow_in_a_process(
                            bundle, workload, combination, arguments.packs
                        )
            report["workloads"][name] = rows
            arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    show(report, console)
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
