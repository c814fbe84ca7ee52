"""A covering set of small models, and what runs an exported one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnx_sessions import run_graph

from navit_edge_export.model import NaViT, NaViTConfig
from navit_edge_export.preprocess import Pack

Outputs = dict[str, npt.NDArray[np.float32]]

OUTPUTS = ("logits", "embedding", "tokens")

# pooling, position kind, combine, query-key norm, biases, GELU: every pooling meets two position kinds, both combines
# and two norms; every position kind meets two poolings and both combines.
COVERING = (
    ("map", "learned-fractional", "sum", "layer", False, "erf"),
    ("map", "sinusoidal", "concat", "rms", True, "tanh"),
    ("mean", "learned-absolute", "concat", "rms", False, "erf"),
    ("mean", "fourier", "sum", "off", True, "erf"),
    ("cls", "learned-fractional", "concat", "off", True, "tanh"),
    ("cls", "sinusoidal", "sum", "layer", False, "erf"),
    ("multi", "fourier", "concat", "layer", False, "tanh"),
    ("multi", "learned-absolute", "sum", "off", True, "erf"),
)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model, its bundle, and both of its graphs under ONNX Runtime."""

    model: NaViT
    bundle: Path
    sessions: Mapping[str, onnxruntime.InferenceSession]

    def alone(self, image: npt.NDArray[np.uint8]) -> Outputs:
        """The oracle: PyTorch on this image and no other."""
        with torch.no_grad():
            return {name: value.numpy() for name, value in self.model.forward_images([image]).items()}

    def run(self, lowering: str, packed: Pack) -> Outputs:
        """The graph under ONNX Runtime, fed with the inputs that it lists."""
        return run_graph(self.sessions[lowering], packed.inputs())


def covering_configs() -> dict[str, NaViTConfig]:
    """The covering set by name."""
    configs = {}
    for pooling, kind, combine, qk_norm, biases, gelu in COVERING:
        configs[f"{pooling}-{kind}-{combine}-{qk_norm}"] = NaViTConfig(
            width=32,
            depth=2 if pooling == "map" else 1,
            heads=4,
            mlp_width=64,
            num_classes=7,
            patch_px=16,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            pooling=pooling,
            position_kind=kind,
            position_combine=combine,
            position_entries=8,  # fewer than an image has rows: the table's end is reached
            qk_norm=qk_norm,
            qkv_bias=biases,
            proj_bias=biases,
            mlp_bias=biases,
            norm_bias=biases,
            gelu=gelu,
        )
    return configs
