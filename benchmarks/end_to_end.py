"""Images per second of a session against what a user would pick instead, in one run, as ratios.

    python benchmarks/end_to_end.py [--rounds 5] [--bundle DIR] [--compiled] [--output benchmarks/end_to_end.json]

Every round times each contender once, in turn; a ratio is the median over rounds of the ratio within a round, so that
a machine whose speed drifts does not favour anyone. Peers get their patches cut beforehand; the session starts from
pixels.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import images as image_sets
import numpy as np
import peers
import torch
from rich.console import Console
from rich.table import Table

import navit_edge as ne
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.machine.cores import usable_cores
from navit_edge.vocabulary import Precision
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.model.navit import NaViT
from navit_edge_export.onnx_export import export_bundle

THREADS = usable_cores()
ORT_PACK_TOKENS = 2048
# (peer, set) -> the least ratio of the session's images/s to the peer's that the project aims at (bf16 engine).
TARGETS = {
    **{("pytorch padded fp32", one): 10.0 for one in ("mixed", "small")},
    **{("pytorch padded bf16", one): 6.0 for one in ("mixed", "small")},
    **{("onnxruntime masked fp32", one): 2.5 for one in ("mixed", "small")},
    **{("openvino alone bf16, best", one): 0.95 for one in ("mixed", "small")},
    ("openvino alone bf16, 1 stream", "small"): 1.3,
}


def hardware() -> dict[str, Any]:
    """What ran the figures."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    flags = next((line for line in info.splitlines() if line.startswith("flags")), "").split()
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": THREADS,
        "isa": [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if flag in flags],
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "onnxruntime", "openvino", "numpy")},
    }


def contenders(
    model: NaViT, bundle: Path, dense: Path, images: peers.Images, precisions: list[Precision], *, compiled: bool
) -> dict[str, peers.Run]:
    """Everyone who runs a set, by name."""
    patch_px = model.config.patch_px
    counts = [image.shape[0] * image.shape[1] // patch_px**2 for image in images]
    packs = ne.plan(counts, token_budget=max(ORT_PACK_TOKENS, *counts), max_images=len(images))
    runs: dict[str, peers.Run] = {}
    for precision in precisions:
        session = ne.Session(bundle, device="cpu", precision=precision)

        def run(session: ne.Session = session) -> list[Any]:
            return [result.logits for result in session.run(images)]

        runs[f"navit-edge {precision}"] = run
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        runs[f"pytorch alone {name}"] = peers.pytorch_alone(model, images, dtype)
        runs[f"pytorch padded {name}"] = peers.pytorch_padded(model, images, dtype)
    if compiled:
        for how, padded in (("alone", False), ("padded", True)):
            runs[f"pytorch compiled {how} bf16"] = peers.pytorch_compiled(model, images, torch.bfloat16, padded=padded)
    runs["onnxruntime masked fp32"] = peers.onnxruntime_masked(bundle, images, packs, patch_px, THREADS)
    for precision in precisions:
        for streams in (1, 2):
            plural = "s" if streams > 1 else ""
            runs[f"openvino alone {precision}, {streams} stream{plural}"] = peers.openvino_alone(
                dense, images, precision, streams, patch_px, THREADS
            )
    return runs


def check(runs: dict[str, peers.Run]) -> dict[str, float]:
    """Largest difference of each contender's logits from PyTorch float32 alone, over the size of those logits."""
    reference = np.stack(runs["pytorch alone fp32"]())
    scale = float(np.abs(reference).max())
    return {name: float(np.abs(np.stack(run()) - reference).max()) / scale for name, run in runs.items()}


def measure(runs: dict[str, peers.Run], rounds: int, console: Console) -> dict[str, list[float]]:
    """Seconds of each contender in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            with console.status(f"round {number + 1} of {rounds}: {name}"):
                time.sleep(0.2)  # lets the last contender's spinning threads go to sleep
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summarize(
    seconds: dict[str, list[float]], errors: dict[str, float], count: int, ours: str
) -> dict[str, dict[str, float]]:
    """Median images/s, p50 and p99 of a pass, and our speed over each contender's."""
    rows = {}
    for name, own in seconds.items():
        ratio = statistics.median(theirs / mine for theirs, mine in zip(own, seconds[ours], strict=True))
        rows[name] = {
            "images_per_second": count / statistics.median(own),
            "pass_ms_p50": 1e3 * statistics.median(own),
            "pass_ms_p99": 1e3 * float(np.percentile(own, 99)),
            "navit_edge_speedup": ratio,
            "logits_error": errors[name],
        }
    return rows


def best_of_streams(seconds: dict[str, list[float]], precision: str) -> list[float]:
    """The better of one and two streams, round by round."""
    names = [f"openvino alone {precision}, 1 stream", f"openvino alone {precision}, 2 streams"]
    return [min(pair) for pair in zip(*(seconds[name] for name in names), strict=True)]


def show(report: dict[str, Any], console: Console) -> None:
    """The report as tables."""
    for set_name, result in report["sets"].items():
        table = Table(title=f"{set_name}: {result['images']} images, {result['tokens']} tokens (S/16)")
        for column in ("contender", "images/s", "p50 ms", "p99 ms", "navit-edge is", "target", "logits error"):
            table.add_column(column, justify="left" if column == "contender" else "right")
        for name, row in result["contenders"].items():
            target = TARGETS.get((name, set_name))
            met = target is not None and row["navit_edge_speedup"] >= target
            mark = "" if target is None else f">= {target} x: {'met' if met else 'short'}"
            table.add_row(
                name,
                f"{row['images_per_second']:.1f}",
                f"{row['pass_ms_p50']:.0f}",
                f"{row['pass_ms_p99']:.0f}",
                f"{row['navit_edge_speedup']:.2f} x",
                mark,
                f"{row['logits_error']:.1e}",
            )
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bundle", type=Path, help="an S/16 bundle (seed 0) with OpenVINO engines; made if not given")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("end_to_end.json"))
    parser.add_argument("--compiled", action="store_true", help="torch.compile in bf16, too; takes minutes more")
    arguments = parser.parse_args()
    console = Console()
    torch.set_num_threads(THREADS)
    config = NaViTConfig()
    model = NaViT(config, seed=0).eval()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = arguments.bundle
        if bundle is None:
            with console.status("exporting S/16 and building its engines"):
                bundle = export_bundle(config, Path(scratch) / "s16.navit", seed=0)
                build_engines(bundle, BuildRequest(backend="openvino"))
        dense = peers.export_dense(model, Path(scratch) / "dense.onnx")
        precisions = [
            cast(Precision, one.precision) for one in ne.load_manifest(bundle).engines if one.backend == "openvino"
        ]
        ours = f"navit-edge {precisions[0]}"
        report: dict[str, Any] = {"hardware": hardware(), "rounds": arguments.rounds, "session": ours, "sets": {}}
        for set_name, grids in (("mixed", image_sets.mixed_grids()), ("small", image_sets.small_grids())):
            images = image_sets.images_of(grids)
            runs = contenders(model, bundle, dense, images, precisions, compiled=arguments.compiled)
            errors = check(runs)  # also the warm-up
            seconds = measure(runs, arguments.rounds, console)
            for precision in precisions:
                best = f"openvino alone {precision}, best"
                seconds[best] = best_of_streams(seconds, precision)
                errors[best] = errors[f"openvino alone {precision}, 1 stream"]
            report["sets"][set_name] = {
                "images": len(grids),
                "tokens": sum(rows * columns for rows, columns in grids),
                "contenders": summarize(seconds, errors, len(grids), ours),
                "seconds": seconds,
            }
    show(report, console)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
