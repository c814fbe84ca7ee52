"""The float32 graph in ONNX Runtime, one image at a time: what engines are judged by.

Patches are the runtime's, whose bytes the golden hashes hold; all else of a pack is made here in numpy, apart from the
runtime's packer, so that its mistakes do not cancel out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.bundle.manifest import Graph, Manifest, processor_of
from navit_edge.bundle.merging import Merging, merge_inputs
from navit_edge.bundle.sizing_rule import to_json
from navit_edge.oracle.graph import infer
from navit_edge.oracle.packs import Pack, Segment, Values

if TYPE_CHECKING:
    from polygraphy.backend.onnxrt import OnnxrtRunner

Image = npt.NDArray[np.uint8]  # [height_px, width_px, C]
Grid = tuple[int, int]  # rows, columns, in patches
Outputs = Values  # of one image: logits [classes], embedding [D], tokens [rows * columns, D]


class Reference:
    """One float32 graph of a bundle on an active runner, which it borrows."""

    def __init__(self, runner: OnnxrtRunner, manifest: Manifest, graph: Graph) -> None:
        self._runner = runner
        self._specs = {spec.name: spec for spec in graph.outputs}
        self._manifest = manifest

    def run(
        self, images: Sequence[Image], grids: Sequence[Grid], *, padding_tokens: int = 0, padding_images: int = 0
    ) -> list[Outputs]:
        """All images in one pack, each resized to its grid; one dictionary an image."""
        pack = pack_images(images, grids, self._manifest, padding_tokens=padding_tokens, padding_images=padding_images)
        found: list[Outputs] = [{} for _ in images]
        for name, value in infer(self._runner, pack.inputs).items():
            for outputs, part in zip(found, pack.by_image(self._specs[name], value), strict=True):
                outputs[name] = part
        return found

    def alone(self, images: Sequence[Image], grids: Sequence[Grid]) -> list[Outputs]:
        """Each image in a pack of its own."""
        return [self.run([image], [grid])[0] for image, grid in zip(images, grids, strict=True)]


def pack_images(
    images: Sequence[Image],
    grids: Sequence[Grid],
    manifest: Manifest,
    *,
    padding_tokens: int = 0,
    padding_images: int = 0,
) -> Pack:
    """One pack of all images, with the inputs of every lowering (docs/model.md), each [T, …] or [N, …]."""
    patches, positions, lengths = [], [], []
    prefix_tokens = manifest.model.prefix_tokens
    prefix = -1 - np.arange(prefix_tokens, dtype=np.int32)
    for image, (rows, columns) in zip(images, grids, strict=True):
        cells = patches_of(image, (rows, columns), manifest)
        row, column = np.divmod(np.arange(rows * columns, dtype=np.int32), np.int32(columns))
        patches += [np.zeros((prefix_tokens, cells.shape[1]), np.uint8), cells]
        positions += [np.stack([prefix, prefix], axis=1), np.stack([row, column], axis=1)]
        lengths.append(prefix_tokens + rows * columns)
    patches.append(np.zeros((padding_tokens, patches[-1].shape[1]), np.uint8))
    positions.append(np.zeros((padding_tokens, 2), np.int32))
    lengths += [0] * padding_images
    count, longest = len(lengths), max(lengths)
    starts = np.cumsum(lengths) - lengths
    offsets = np.arange(longest)
    index = np.where(offsets < np.array(lengths)[:, None], starts[:, None] + offsets, -1)
    image_of, offset = np.nonzero(index >= 0)
    owner = np.concatenate([np.repeat(np.arange(count), lengths), np.full(padding_tokens, count)])
    inputs: dict[str, npt.NDArray[np.generic]] = {
        "patches": np.concatenate(patches),
        "positions": np.concatenate(positions).astype(np.int32),
        "segment_ids": owner.astype(np.int32),
        "grid_hw": np.array([*grids, *[(1, 1)] * padding_images], np.int32),
        "attention_index": index.astype(np.int32),
        "token_index": np.pad(image_of * longest + offset, (0, padding_tokens)).astype(np.int32),
        "cu_seqlens": np.append(0, np.cumsum(lengths)).astype(np.int32),
    }
    merging = manifest.model.merging
    if isinstance(merging, Merging):
        total = len(inputs["patches"])
        inputs |= merge_inputs(merging, lengths, prefix_tokens=prefix_tokens, tokens=total, longest=longest)
    segments = (
        Segment(name=str(at), first=int(starts[at]) + prefix_tokens, tokens=lengths[at] - prefix_tokens)
        for at in range(len(images))
    )
    return Pack(inputs=inputs, segments=tuple(segments))


def pack_each(images: Sequence[Image], grids: Sequence[Grid], manifest: Manifest) -> list[Pack]:
    """Each image in a pack of its own."""
    return [pack_images([image], [grid], manifest) for image, grid in zip(images, grids, strict=True)]


def patches_of(image: Image, grid: Grid, manifest: Manifest) -> npt.NDArray[np.uint8]:
    """The runtime's patches of one image, uint8 [rows * columns, F]."""
    pre = manifest.preprocess
    packer = _core.Packer.of(
        inputs=["patches"],
        patch_px=pre.patch_px,
        sizing=to_json(pre.sizing),
        filter=pre.filter,
        processor=processor_of(pre),
        alpha=pre.alpha,
        background=pre.background,
        frames=manifest.frames,
    )
    return packer.write([image], [grid])["patches"]
