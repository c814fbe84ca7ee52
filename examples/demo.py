"""The whole line on real photographs: export, build, run, compare. `make demo` runs it; everything lands in demo/.

A second run takes what is there: the bundle is exported again only if the exporter, the options or the checkpoint
changed, and engines are built again only if the bundle changed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from packing_picture import Bar, Panel, Segment, draw
from photographs import write_photographs
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

import navit_edge as ne
from navit_edge.bundle.hashing import verify_files
from navit_edge.bundle.manifest import Engine, Manifest

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "demo"
SEED = 0
TOP = 3
GPU_TARGETS = "sm86,sm89"  # consumer GPUs of the Ampere and Ada generations
GPU_BUDGETS = "256,1024,4096"

# Wide enough for the tables, also if the output is a file.
console = Console(highlight=False, width=max(124, shutil.get_terminal_size().columns))


@dataclass(frozen=True, kw_only=True)
class EngineRun:
    """What one engine gave for all photographs."""

    engine: Engine
    device: str
    results: list[ne.Result]
    packs: list[dict[str, Any]]
    total_ms: float
    first_image_ms: float  # from opening the bundle to the first image's result


def main() -> None:
    """Parses the command line and runs the five steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="s16", help="ti16, s16, b16 or l16 (default: s16)")
    parser.add_argument("--checkpoint", type=Path, help="a .safetensors file; without one the weights are random")
    parser.add_argument(
        "--max-tokens", type=int, default=384, help="most patches of an image; the default lets several share a pass"
    )
    parser.add_argument("--fresh", action="store_true", help="export and build again even if nothing changed")
    arguments = parser.parse_args()
    started = time.perf_counter()

    step("1/5", "real photographs, from the packages scikit-image and scikit-learn")
    paths = write_photographs(DEMO / "images")
    say(f"{len(paths)} files in {shown(DEMO / 'images')}")

    step("2/5", "PyTorch → ONNX graphs and manifest")
    bundle = DEMO / f"navit-{arguments.model}.navit"
    export(bundle, arguments)

    step("3/5", "ONNX → engines")
    build(bundle)

    step("4/5", "photographs → C++ runtime → one result per image")
    manifest = ne.load_manifest(bundle)
    runs = [run_engine(bundle, engine, paths) for engine in manifest.engines if engine.backend == "openvino"]
    best = runs[0]
    print_results(best, paths, manifest, random_weights=arguments.checkpoint is None)
    print_packs(best)
    picture = DEMO / "packs.png"
    draw_packs(best, paths, manifest, picture)
    say(f"the packs as a picture: [bold]{shown(picture)}[/bold]")

    step("5/5", "the same images through PyTorch, each alone, in float32")
    compare(runs, paths, manifest, arguments.checkpoint)
    say(
        f"\nbundle [bold]{shown(bundle)}[/bold], images [bold]{shown(DEMO / 'images')}[/bold], picture "
        f"[bold]{shown(picture)}[/bold]; all in {time.perf_counter() - started:.0f} s"
    )


# --- export and build ---------------------------------------------------------------------------------------------


def export(bundle: Path, arguments: argparse.Namespace) -> None:
    """Exports the model unless the bundle is whole and was made of the same things."""
    stamp = bundle.with_suffix(".made-of")
    made_of = fingerprint(arguments)
    if not arguments.fresh and stamp.is_file() and stamp.read_text() == made_of and is_whole(bundle):
        say(f"{shown(bundle)} is there and unchanged; --fresh exports it again")
        return
    command = ["export", "--model", arguments.model, "--max-tokens", str(arguments.max_tokens)]
    if arguments.checkpoint is not None:
        command += ["--checkpoint", str(arguments.checkpoint)]
    else:
        command += ["--seed", str(SEED)]
    if bundle.exists():
        command.append("--overwrite")
    navit_edge(*command, "-o", shown(bundle))
    stamp.write_text(made_of)


def fingerprint(arguments: argparse.Namespace) -> str:
    """A hash of what decides the bundle: the exporter's sources, the versions, the options and the checkpoint."""
    digest = hashlib.sha256()
    exporter = find_spec("navit_edge_export")
    assert exporter is not None
    assert exporter.origin is not None
    for path in sorted(Path(exporter.origin).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    for package in ("navit-edge", "torch", "onnx", "onnxscript"):
        digest.update(importlib.metadata.version(package).encode())
    digest.update(f"{arguments.model} {arguments.max_tokens} {SEED}".encode())
    if arguments.checkpoint is not None:
        digest.update(arguments.checkpoint.read_bytes())
    return digest.hexdigest()


def is_whole(bundle: Path) -> bool:
    """Whether every file of the bundle has the bytes that its manifest promises."""
    try:
        verify_files(bundle, ne.load_manifest(bundle))
    except ne.BundleError:
        return False
    return True


def build(bundle: Path) -> None:
    """Builds what can be built here. build-engine itself leaves alone what is built already."""
    navit_edge("build-engine", shown(bundle), "--backend", "openvino")
    if find_spec("tensorrt_rtx") is None:
        say(
            "TensorRT-RTX engines: not built, the package tensorrt-rtx is not installed "
            "(pip install navit-edge\\[tensorrt-rtx])"
        )
        return
    navit_edge(
        "build-engine",
        shown(bundle),
        "--backend",
        "tensorrt-rtx",
        "--token-budgets",
        GPU_BUDGETS,
        "--target",
        GPU_TARGETS,
    )
    say(f"the TensorRT-RTX engine was compiled ahead of time for {GPU_TARGETS}; no GPU runs it in this demo")


def navit_edge(*arguments: str) -> None:
    """Shows and runs a command of the CLI; it reports its own progress and errors."""
    say(f"[bold cyan]$ navit-edge {' '.join(arguments)}[/bold cyan]")
    finished = subprocess.run([sys.executable, "-m", "navit_edge.cli.main", *arguments], cwd=ROOT, check=False)
    if finished.returncode != 0:
        raise SystemExit(finished.returncode)


# --- run ----------------------------------------------------------------------------------------------------------


def run_engine(bundle: Path, engine: Engine, paths: Sequence[Path]) -> EngineRun:
    """Opens the bundle on one engine and runs all photographs twice; the second run is the one that is reported."""
    started = time.perf_counter()
    session = ne.Session(bundle, engine=engine.id)
    session.run(paths[:1])
    first_image_ms = (time.perf_counter() - started) * 1000
    images = [pixels_of(path) for path in paths]
    session.run(images)  # allocates buffers and opens the second stream
    results = session.run(images)
    report = session.last_report
    return EngineRun(
        engine=engine,
        device=session.device,
        results=results,
        packs=report["packs"],
        total_ms=report["total_us"] / 1000,
        first_image_ms=first_image_ms,
    )


def pixels_of(path: Path) -> npt.NDArray[np.uint8]:
    """uint8 [height_px, width_px, 3]"""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def print_results(run: EngineRun, paths: Sequence[Path], manifest: Manifest, *, random_weights: bool) -> None:
    """One row per photograph."""
    say(f"engine [bold]{run.engine.id}[/bold] on {run.device}")
    title = f"top {TOP}: class id (probability)" if not manifest.labels else f"top {TOP}"
    table = Table(header_style="bold", row_styles=("", "dim"))
    table.add_column("file", no_wrap=True)
    for column in ("pixels (h × w)", "patch grid", "tokens", "pack"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(title, no_wrap=True)
    table.add_column("latency, ms", justify="right", no_wrap=True)
    for path, result in zip(paths, run.results, strict=True):
        table.add_row(
            path.name,
            f"{result.pixels[0]} × {result.pixels[1]}",
            f"{result.grid[0]} × {result.grid[1]}",
            str(result.token_count),
            str(result.pack),
            ", ".join(f"{one.label or one.index} ({one.score:.3f})" for one in result.top_k(TOP)),
            f"{result.latency_ms:.1f}",
        )
    console.print(table)
    if random_weights:
        say(
            f"[yellow]The weights are random (seed {SEED}): the classes mean nothing.[/yellow] "
            "Give --checkpoint FILE for a trained model."
        )
    say("latency: from the start of the image's pack to the outputs of that pack")


def print_packs(run: EngineRun) -> None:
    """How full each pass was, and the time of all of them."""
    target = run.engine.budgets[-1].target_tokens
    table = Table(header_style="bold")
    table.add_column("pack")
    for column in ("images", "tokens", "computed on", "fill", f"of target {target}", "packing, ms", "engine, ms"):
        table.add_column(column, justify="right", no_wrap=True)
    for index, pack in enumerate(run.packs):
        table.add_row(
            str(index),
            str(pack["images"]),
            str(pack["tokens"]),
            str(pack["capacity"]),
            f"{pack['tokens'] / pack['capacity']:.0%}",
            f"{pack['tokens'] / target:.0%}",
            f"{pack['preprocess_us'] / 1000:.1f}",
            f"{pack['engine_us'] / 1000:.1f}",
        )
    console.print(table)
    used = sum(pack["tokens"] for pack in run.packs)
    computed = sum(pack["capacity"] for pack in run.packs)
    say(
        f"{len(run.results)} images in {len(run.packs)} packs, {used / computed:.1%} full: {run.total_ms:.0f} ms in "
        f"all, [bold]{len(run.results) / run.total_ms * 1000:.1f} images/s[/bold]; "
        f"opening the bundle and the first image took {run.first_image_ms:.0f} ms"
    )


# --- picture ------------------------------------------------------------------------------------------------------


def draw_packs(run: EngineRun, paths: Sequence[Path], manifest: Manifest, picture: Path) -> None:
    """The packs that were run, and below them those that a TensorRT-RTX engine of the bundle would get."""

    def segment(index: int) -> Segment:
        result = run.results[index]
        return Segment(image=index, name=paths[index].stem, grid=result.grid, tokens=result.token_count)

    count = len(paths)
    by_tokens = sorted(range(count), key=lambda i: -run.results[i].token_count)
    bars = [
        Bar(
            segments=[segment(i) for i in by_tokens if run.results[i].pack == index],
            capacity_tokens=pack["capacity"],
        )
        for index, pack in enumerate(run.packs)
    ]
    panels = [
        Panel(
            title=f"{count} photographs in {len(bars)} packs, as run by {run.engine.id}",
            subtitle="Images of similar length share a pass, which on the CPU computes on its own tokens only.",
            bars=bars,
            limit_tokens=run.engine.budgets[-1].target_tokens,
        )
    ]
    planned = next((engine for engine in manifest.engines if engine.backend == "tensorrt-rtx"), None)
    if planned is not None:
        panels.append(planned_panel(planned, run, segment))
    thumbnails = []
    for path in paths:
        with Image.open(path) as image:
            image.thumbnail((320, 320))
            thumbnails.append(image.convert("RGB"))
    draw(panels, thumbnails, picture)


def planned_panel(engine: Engine, run: EngineRun, segment: Any) -> Panel:
    """The plan for an engine that is padded to its token budgets. Planned by the runtime's own planner, not run."""
    token_counts = [result.token_count for result in run.results]
    budgets = [budget.tokens for budget in engine.budgets]
    packs = ne.plan(
        token_counts,
        token_budget=budgets,
        max_images=engine.budgets[-1].images,
        strategy=engine.strategy,
    )
    bars = []
    for pack in packs:
        tokens = sum(token_counts[i] for i in pack)
        bars.append(Bar(segments=[segment(i) for i in pack], capacity_tokens=min(b for b in budgets if b >= tokens)))
    return Panel(
        title=f"The same photographs as planned for {engine.id} (not run: no GPU here)",
        subtitle=f"A pass is padded to the smallest budget that holds it ({', '.join(map(str, budgets))} tokens). "
        "Hatched: padding, computed on in vain.",
        bars=bars,
        limit_tokens=budgets[-1],
    )


# --- compare ------------------------------------------------------------------------------------------------------


def compare(runs: Sequence[EngineRun], paths: Sequence[Path], manifest: Manifest, checkpoint: Path | None) -> None:
    """Largest differences of every engine from PyTorch on one image at a time, resized by Pillow."""
    import torch

    from navit_edge_export.model import NaViT, NaViTConfig, load_checkpoint
    from navit_edge_export.preprocess import prepare

    if checkpoint is not None:
        model = load_checkpoint(checkpoint)
    else:
        model = NaViT(NaViTConfig.from_dict(manifest.model.config), seed=SEED).eval()
    preprocess = manifest.preprocess
    prepared = [
        prepare(
            pixels_of(path),
            patch_px=preprocess.patch_px,
            sizing=preprocess.sizing,
            resample=preprocess.filter,
        )
        for path in paths
    ]

    def alone(description: str, *, bfloat16: bool) -> tuple[list[dict[str, npt.NDArray[np.float32]]], float]:
        outputs = []
        started = time.perf_counter()
        for image in track(prepared, description=description, console=console, transient=True):
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                one = model.forward_images([image])
            outputs.append({name: one[name][0].float().numpy() for name in ("logits", "embedding")})
        return outputs, (time.perf_counter() - started) * 1000

    expected, float32_ms = alone("PyTorch float32, one image at a time", bfloat16=False)
    table = Table(header_style="bold")
    table.add_column("", no_wrap=True)
    for column in ("largest difference: logits", "embedding", "same top class", "all images, ms"):
        table.add_column(column, justify="right", no_wrap=True)

    def row(name: str, found: Sequence[Mapping[str, Any]], milliseconds: float) -> None:
        pairs = list(zip(found, expected, strict=True))
        logits, embedding = (max(distance(f[key], e[key]) for f, e in pairs) for key in ("logits", "embedding"))
        same = sum(int(np.argmax(f["logits"]) == np.argmax(e["logits"])) for f, e in pairs)
        table.add_row(name, f"{logits:.1e}", f"{embedding:.1e}", f"{same} of {len(pairs)}", f"{milliseconds:.0f}")

    for run in runs:
        row(run.engine.id, [{"logits": r.logits, "embedding": r.embedding} for r in run.results], run.total_ms)
    if any(run.engine.precision == "bf16" for run in runs):
        bfloat16, bfloat16_ms = alone("PyTorch bfloat16, one image at a time", bfloat16=True)
        row("for comparison: PyTorch, bfloat16 autocast", bfloat16, bfloat16_ms)
    table.add_row("the reference: PyTorch, float32", "", "", "", f"{float32_ms:.0f}")
    console.print(table)
    spread = max(float(np.abs(e["logits"]).max()) for e in expected)
    say(f"logits reach {spread:.1f}; PyTorch's times leave out resizing, the engines' include it")


def distance(found: npt.NDArray[np.float32] | None, expected: npt.NDArray[np.float32]) -> float:
    """Largest absolute difference."""
    assert found is not None
    return float(np.abs(found - expected).max())


# --- printing -----------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """One paragraph, left to the terminal to wrap."""
    console.print(text, soft_wrap=True)


def step(number: str, title: str) -> None:
    say(f"\n[bold green]{number}[/bold green]  [bold]{title}[/bold]")


def shown(path: Path) -> str:
    """Relative to the repository, as the user would type it."""
    return os.path.relpath(path, ROOT)


if __name__ == "__main__":
    main()
