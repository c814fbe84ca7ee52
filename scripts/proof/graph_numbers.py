"""Step "numbers": what the masked and the padded graph give in each precision, against the same graph in float64.

The graphs of 16 bits are those that build-engine hands to TensorRT (compile/precision.py). What is shown is the graphs'
arithmetic in PyTorch's kernels on this device, not TensorRT's kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Tolerance
from navit_edge.compile.precision import Conversion
from navit_edge.errors import InvalidInputError
from navit_edge.oracle.distance import Differences
from navit_edge.verify.verify import TOLERANCES
from navit_edge_export.preprocess import pack
from proof.onnx_on_torch import Graph, load
from proof.results import Results
from proof.settings import Settings

Values = dict[str, npt.NDArray[np.float64]]
Image = npt.NDArray[np.uint8]
PATCH_PX = 16
#: Rows and columns of patches.
FEW = ((4, 6), (3, 3), (8, 5), (1, 7))
ON_A_CPU = (*FEW, (14, 14))  # 16-bit products are slow there
MANY = (*ON_A_CPU, (32, 32), (10, 24), (27, 16), (2, 2), (20, 20))
PADDING_TOKENS, PADDING_IMAGES = 13, 2


@dataclass(frozen=True)
class Mode:
    """name: fp32, tf32, bf16, fp16."""

    name: str

    @property
    def precision(self) -> str:
        return "fp32" if self.name == "tf32" else self.name


class Model:
    """A bundle's graph in one precision, given images."""

    def __init__(self, graph: manifests.Graph, mode: Mode | None, *, settings: Settings, prefix: int) -> None:
        """mode: None for float64."""
        model = load(settings.bundle / graph.file)
        if mode is not None and mode.precision != "fp32":
            model = Conversion(model, mode.precision).convert()
        self._graph = Graph(model, device=settings.device, wide=mode is None)
        self._per_token = {output.name for output in graph.outputs if output.shape[0] == "T"}
        self._prefix = prefix
        self._tf32 = mode is not None and mode.name == "tf32"

    def run(self, images: Sequence[Image], *, padding: npt.NDArray[np.uint8] | None = None) -> list[Values]:
        """Output -> value of each image, and, last, of the padding rows; padding: [rows, F] at the end of the pack."""
        rows = 0 if padding is None else len(padding)
        packed = pack(
            images, patch_px=PATCH_PX, prefix_tokens=self._prefix, padding_tokens=rows,
            padding_images=PADDING_IMAGES if rows else 0,
        )  # fmt: skip
        inputs = packed.inputs()
        if padding is not None:
            inputs["patches"][-rows:] = padding
        torch.backends.cuda.matmul.allow_tf32 = self._tf32
        found = self._graph.run(inputs)
        ends = [int(end) for end in packed.cu_seqlens]
        return [
            {
                name: value[ends[i] : ends[i + 1]] if name in self._per_token else value[i]
                for name, value in found.items()
            }
            for i in range(len(images))
        ] + [{name: found[name][ends[-1] :] for name in self._per_token if rows}]


def run(settings: Settings, results: Results) -> None:
    """All lowerings in all precisions; tf32 only where a GPU has it."""
    manifest = manifests.load(settings.bundle)
    if manifest.preprocess.patch_px != PATCH_PX:
        raise InvalidInputError(f"patches of {manifest.preprocess.patch_px} pixels; expected {PATCH_PX}; take a NaViT")
    grids = FEW if settings.quick else MANY if settings.device == "cuda" else ON_A_CPU
    images = random_images(grids, seed=0)
    modes = [Mode(name) for name in ("fp32", "tf32", "bf16", "fp16") if name != "tf32" or settings.device == "cuda"]
    prefix = manifest.model.prefix_tokens
    for graph in manifest.graphs:
        if graph.lowering == "packed":  # an operator of TensorRT's, which has no definition in ONNX
            continue
        reference = Model(graph, None, settings=settings, prefix=prefix).run(images)[:-1]
        for mode in modes:
            model = Model(graph, mode, settings=settings, prefix=prefix)
            name = f"{graph.lowering} {mode.name}"
            results.put(name, examine(model, images, reference, TOLERANCES[mode.precision], name, results))


def examine(
    model: Model, images: Sequence[Image], reference: list[Values], limit: Tolerance, name: str, results: Results
) -> dict[str, Any]:
    """Checks one graph in one precision: against ``reference``, alone, in another order, with padding and strangers."""
    together = model.run(images)[:-1]
    generator = np.random.default_rng(1)
    features = images[0].shape[2] * PATCH_PX**2
    noise = generator.integers(0, 256, (PADDING_TOKENS, features), dtype=np.uint8)
    strangers = [images[0], *(generator.integers(0, 256, image.shape, dtype=np.uint8) for image in images[1:])]
    *padded, _ = model.run(images, padding=np.zeros_like(noise))
    *noisy, padding = model.run(images, padding=noise)
    told: dict[str, Any] = {}
    for case, expected, found in (
        ("against float64", reference, together),
        ("alone", reference, [model.run([image])[0] for image in images]),
        ("reversed order", reference, model.run(images[::-1])[:-1][::-1]),
        ("with padding", reference, padded),
    ):
        told[case] = {}
        for output in expected[0]:
            distance = Differences()
            for one, other in zip(expected, found, strict=True):
                distance.add(one[output], other[output])  # type: ignore[arg-type]
            relative = distance.largest_difference / distance.largest
            told[case][output] = {"relative": relative, "least_cosine": min(distance.cosines)}
            results.check(f"{name}: {case}, {output}, relative difference", relative, most=limit.max_relative)
            results.check(f"{name}: {case}, {output}, cosine", min(distance.cosines), least=limit.min_cosine)
    # Shapes are the same, so kernels are the same: what leaks would change bits.
    leaked = most_apart([together[0]], [model.run(strangers)[0]])
    from_padding = most_apart(padded, noisy)
    told |= {"leaked_from_strangers": leaked, "leaked_from_padding": from_padding}
    results.check(f"{name}: other pixels in the other images change nothing", leaked, most=0.0)
    results.check(f"{name}: other bytes in the padding change nothing", from_padding, most=0.0)
    finite = all(np.isfinite(value).all() for value in padding.values())
    results.check(f"{name}: padding rows give numbers, no NaN", bool(finite))
    return told


def most_apart(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> float:
    """The largest difference of any output of any image; NaN if one is not a number."""
    return float(np.max([np.abs(a[name] - b[name]).max() for a, b in zip(one, other, strict=True) for name in a]))


def random_images(grids: Sequence[tuple[int, int]], *, seed: int) -> list[Image]:
    """[rows*P, columns*P, 3] of random pixels."""
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (r * PATCH_PX, c * PATCH_PX, 3), dtype=np.uint8) for r, c in grids]
