"""A bundle with engines of the stand-in for TensorRT, and what the engines are to give."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Manifest
from navit_edge_export.preprocess import pack, prepare
from proof.cuda_calls import Cuda
from proof.engines import copy_with_engines
from proof.graph_numbers import Model, Values
from proof.onnx_on_torch import Graph, load
from proof.settings import Settings
from proof.stand_in import Arrays, StandIn, captures

Image = npt.NDArray[np.uint8]
#: What each figure of a session on the stand-in says of itself.
LABELS = {
    "cuda": "our back end and PyTorch's CUDA graph on this GPU; a stand-in for TensorRT",
    "cpu": "rehearsed on a simulated CUDA, on the CPU: no figure of a GPU",
}
#: (tokens, images) of each budget.
BUDGETS, SMALL_BUDGETS = ((256, 8), (1024, 16), (4096, 64)), ((64, 4), (256, 8))
#: An arena that no device has room for.
TOO_LARGE_BYTES = 1 << 50
#: Engine -> what its plan says beside the default.
ENGINES: dict[str, dict[str, Any]] = {
    "stand-in": {},
    "stand-in-refuses-captures": {"refuses_captures": True},
    "stand-in-too-large": {"arena_bytes": TOO_LARGE_BYTES},
}
MODEL = "masked"


@contextmanager
def opened(settings: Settings, target: Path, *, slots: int) -> Iterator[tuple[StandIn, Cuda]]:
    """A copy of the bundle at ``target`` whose engines are ``ENGINES``; the stand-in with what they launch, its CUDA.

    slots: for how many packs in flight graphs are captured.
    """
    cuda = _cuda(settings)
    budgets = SMALL_BUDGETS if settings.quick or settings.device == "cpu" else BUDGETS
    manifest = manifests.load(settings.bundle)
    entry = next(graph for graph in manifest.graphs if graph.lowering == "masked")
    graph = Graph(load(settings.bundle / entry.file), device=settings.device)
    stand_in = StandIn(settings.libraries)
    inputs = [_inputs(manifest, tokens, images) for tokens, images in budgets]
    for budget, made in enumerate(captures(graph, inputs, each=slots, cuda=cuda)):
        for capture in made:
            stand_in.add(MODEL, budget, capture)
    plans = {name: stand_in.plan(MODEL, **differently) for name, differently in ENGINES.items()}
    copy_with_engines(
        settings.bundle, target, plans, budgets=budgets, target_name=f"sm{cuda.capability()}", version=stand_in.version
    )
    try:
        yield stand_in, cuda
    finally:
        stand_in.forget(MODEL)
        shutil.rmtree(target, ignore_errors=True)


def _cuda(settings: Settings) -> Cuda:
    if settings.device == "cpu":
        return Cuda(settings.libraries / "simulator")
    import torch

    torch.cuda.init()  # type: ignore[no-untyped-call]
    return Cuda()


def _inputs(manifest: Manifest, tokens: int, images: int) -> Arrays:
    """Of a pack of this shape, padding included."""
    side, prefix = manifest.preprocess.patch_px, manifest.model.prefix_tokens
    image = np.zeros((side, 2 * side, manifest.preprocess.channels), np.uint8)
    packed = pack(
        [image], patch_px=side, prefix_tokens=prefix, padding_tokens=tokens - 2 - prefix, padding_images=images - 1
    )
    return packed.inputs()


def expected(settings: Settings, images: Sequence[Image]) -> list[Values]:
    """What each image gives alone, resized by Pillow, the graph in float64."""
    manifest = manifests.load(settings.bundle)
    rule = manifest.preprocess
    processor = "pillow" if rule.processor is msgspec.UNSET else rule.processor
    entry = next(graph for graph in manifest.graphs if graph.lowering == "masked")
    model = Model(entry, None, settings=settings, prefix=manifest.model.prefix_tokens)
    return [
        model.run(
            [prepare(image, patch_px=rule.patch_px, sizing=rule.sizing, resample=rule.filter, processor=processor)]
        )[0]
        for image in images
    ]
