"""Engines against PyTorch: largest differences on one image at a time, resized by Pillow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from demo_bundle import SEED, Choice
from demo_console import console, say
from demo_run import EngineRun, Sample
from rich.progress import track
from rich.table import Table

from navit_edge.bundle.manifest import Manifest, processor_of

if TYPE_CHECKING:
    from navit_edge_export.model import NaViT


def load_model(choice: Choice, manifest: Manifest) -> NaViT:
    """The bundle's model in PyTorch."""
    from navit_edge_export.model import NaViT, NaViTConfig, load_checkpoint

    if choice.checkpoint is not None:
        return load_checkpoint(choice.checkpoint).eval()
    return NaViT(NaViTConfig.from_dict(manifest.model.config), seed=SEED).eval()


def compare(runs: Sequence[EngineRun], samples: Sequence[Sample], manifest: Manifest, model: NaViT) -> None:
    """Prints a row for each engine."""
    import torch

    from navit_edge_export.preprocess import prepare

    torch.set_num_threads(1)  # on images this small threads wait for each other longer than they compute
    preprocess = manifest.preprocess
    prepared = [
        prepare(
            sample.pixels,
            patch_px=preprocess.patch_px,
            sizing=preprocess.sizing,
            resample=preprocess.filter,
            processor=processor_of(preprocess),
        )
        for sample in samples
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
    say(f"logits reach {spread:.1f}; PyTorch has one thread, and its times leave out resizing; the engines' include it")


def distance(found: npt.NDArray[np.float32] | None, expected: npt.NDArray[np.float32]) -> float:
    """Largest absolute difference."""
    assert found is not None
    return float(np.abs(found - expected).max())
