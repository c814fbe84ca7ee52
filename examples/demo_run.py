"""The demo's images through the engines, and what came out as tables."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from demo_console import console, say
from rich.table import Table

import navit_edge as ne
from navit_edge.bundle.manifest import Engine

TOP = 3


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An image of the demo. pixels: RGB as the model sees it. truth: its class; "" if it is of none of the model's."""

    path: Path
    pixels: npt.NDArray[np.uint8]
    truth: str


@dataclass(frozen=True, kw_only=True)
class EngineRun:
    """What one engine gave for all images."""

    engine: Engine
    device: str
    results: list[ne.Result]
    packs: list[dict[str, Any]]
    total_ms: float
    first_image_ms: float  # from opening the bundle to the first image's result


def run_engine(bundle: Path, engine: Engine, samples: Sequence[Sample]) -> EngineRun:
    """Opens the bundle on one engine and runs all images twice; the second run is the one that is reported."""
    images = [sample.pixels for sample in samples]
    started = time.perf_counter()
    session = ne.Session(bundle, engine=engine.id)
    session.run(images[:1])
    first_image_ms = (time.perf_counter() - started) * 1000
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


def right_of(run: EngineRun, samples: Sequence[Sample]) -> tuple[int, int]:
    """How many images got their class, of those that have one."""
    known = [(sample, result) for sample, result in zip(samples, run.results, strict=True) if sample.truth]
    return sum(result.top_k(1)[0].label == sample.truth for sample, result in known), len(known)


def print_results(run: EngineRun, samples: Sequence[Sample]) -> None:
    """One row per image."""
    say(f"engine [bold]{run.engine.id}[/bold] on {run.device}")
    labelled = bool(run.results[0].labels)
    table = Table(header_style="bold", row_styles=("", "dim"))
    table.add_column("file", no_wrap=True)
    for column in ("pixels (h × w)", "patch grid", "tokens", "pack"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(f"top {TOP} (probability)" if labelled else f"top {TOP}: class id (probability)", no_wrap=True)
    table.add_column("latency, ms", justify="right", no_wrap=True)
    for sample, result in zip(samples, run.results, strict=True):
        best = result.top_k(TOP)
        verdict = "" if not sample.truth else "[green]✓[/green] " if best[0].label == sample.truth else "[red]✗[/red] "
        table.add_row(
            sample.path.name,
            f"{result.pixels[0]} × {result.pixels[1]}",
            f"{result.grid[0]} × {result.grid[1]}",
            str(result.token_count),
            str(result.pack),
            verdict + ", ".join(f"{one.label or one.index} ({one.score:.2f})" for one in best),
            f"{result.latency_ms:.1f}",
        )
    console.print(table)
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
    say(f"{totals(run)}; opening the bundle and the first image took {run.first_image_ms:.0f} ms")


def totals(run: EngineRun) -> str:
    """In one line."""
    used = sum(pack["tokens"] for pack in run.packs)
    computed = sum(pack["capacity"] for pack in run.packs)
    return (
        f"{len(run.results)} images in {len(run.packs)} packs, {used / computed:.1%} full: {run.total_ms:.0f} ms in "
        f"all, {len(run.results) / run.total_ms * 1000:.1f} images/s"
    )
