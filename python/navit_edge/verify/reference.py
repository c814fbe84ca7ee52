"""The float32 graph in ONNX Runtime, one image at a time: what engines are judged by.

Patches are the runtime's, whose bytes the golden hashes hold; all else of a pack is made here in numpy, apart from the
runtime's packer, so that its mistakes do not cancel out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from navit_edge.bundle.manifest import Graph, Manifest
from navit_edge.errors import BackendError, import_or_explain
from navit_edge.verify.compare import Outputs
from navit_edge.verify.golden import patches_of
from navit_edge.verify.images import Image

Grid = tuple[int, int]  # rows, columns, in patches

_REMEDY = "pip install onnxruntime, or pip install navit-edge[verify]"


class Reference:
    """One float32 graph of a bundle.

    Raises MissingPackageError without ONNX Runtime, BackendError where it refuses the graph.
    """

    def __init__(self, sources: Path, manifest: Manifest, graph: Graph, *, model: bytes | None = None) -> None:
        """
        Args:
            sources: Where checked copies of the bundle's graphs and weights lie.
            model: A serialized graph to run in place of the graph's file; its weights lie there, too.
        """
        runtime = import_or_explain("onnxruntime", purpose="verifying an engine", remedy=_REMEDY)
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        source: Any = str(sources / graph.file)
        if model is not None:
            source = model
            # Where external weights are looked for when the graph itself comes from memory.
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str((sources / graph.file).parent)
            )
        try:
            self._session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no public common base
            raise BackendError(
                f"ONNX Runtime {runtime.__version__} does not take graph {graph.id!r}: {error}; upgrade onnxruntime"
            ) from error
        self._names = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]
        self._prefix = manifest.model.prefix_tokens
        self._patches_per_row = manifest.model.token_merge**2  # of the output "tokens"
        self._preprocess = manifest.preprocess
        self.version = f"onnxruntime {runtime.__version__}"

    def run(
        self, images: Sequence[Image], grids: Sequence[Grid], *, padding_tokens: int = 0, padding_images: int = 0
    ) -> list[Outputs]:
        """All images in one pack, each resized to its grid; one dictionary an image."""
        inputs = self._pack(images, grids, padding_tokens, padding_images)
        values = self._session.run(self._outputs, {name: inputs[name] for name in self._names})
        found: list[Outputs] = [{} for _ in images]
        start = 0
        for index, (rows, columns) in enumerate(grids):
            first, start = start + self._prefix, start + self._prefix + rows * columns
            for name, value in zip(self._outputs, values, strict=True):
                rows_of = slice(first // self._patches_per_row, start // self._patches_per_row)
                found[index][name] = value[rows_of] if name == "tokens" else value[index]
        return found

    def alone(self, images: Sequence[Image], grids: Sequence[Grid]) -> list[Outputs]:
        """Each image in a pack of its own."""
        return [self.run([image], [grid])[0] for image, grid in zip(images, grids, strict=True)]

    def _pack(
        self, images: Sequence[Image], grids: Sequence[Grid], padding_tokens: int, padding_images: int
    ) -> dict[str, npt.NDArray[Any]]:
        """The graph's inputs (docs/model.md), each [T, …] or [N, …]."""
        patches, positions, lengths = [], [], []
        prefix = -1 - np.arange(self._prefix, dtype=np.int32)
        for image, (rows, columns) in zip(images, grids, strict=True):
            cells = patches_of(image, (rows, columns), self._preprocess)
            row, column = np.divmod(np.arange(rows * columns, dtype=np.int32), np.int32(columns))
            patches += [np.zeros((self._prefix, cells.shape[1]), np.uint8), cells]
            positions += [np.stack([prefix, prefix], axis=1), np.stack([row, column], axis=1)]
            lengths.append(self._prefix + rows * columns)
        patches.append(np.zeros((padding_tokens, patches[-1].shape[1]), np.uint8))
        positions.append(np.zeros((padding_tokens, 2), np.int32))
        lengths += [0] * padding_images
        count, longest = len(lengths), max(lengths)
        starts = np.cumsum(lengths) - lengths
        offsets = np.arange(longest)
        index = np.where(offsets < np.array(lengths)[:, None], starts[:, None] + offsets, -1)
        image_of, offset = np.nonzero(index >= 0)
        owner = np.concatenate([np.repeat(np.arange(count), lengths), np.full(padding_tokens, count)])
        return {
            "patches": np.concatenate(patches),
            "positions": np.concatenate(positions).astype(np.int32),
            "segment_ids": owner.astype(np.int32),
            "grid_hw": np.array([*grids, *[(1, 1)] * padding_images], np.int32),
            "attention_index": index.astype(np.int32),
            "token_index": np.concatenate(
                [image_of * longest + offset, np.zeros(padding_tokens, np.int64)]
            ).astype(np.int32),
        }  # fmt: skip
