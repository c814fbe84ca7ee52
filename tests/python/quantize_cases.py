"""What the tests of quantize share: images to calibrate with, and hands on the graphs of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.external_data_helper
from onnx import TensorProto, numpy_helper
from PIL import Image

from navit_edge.bundle import hashing, publish
from navit_edge.bundle import manifest as manifests

Array = npt.NDArray[np.float32]
Photographs = Mapping[str, npt.NDArray[np.uint8]]
LAYERS = [f"layers.{layer}.{name}" for layer in (0, 1) for name in ("q", "k", "v", "out", "up", "down")]


def write_images(photographs: Photographs, directory: Path) -> Path:
    """The photographs as files, half of them in a subdirectory."""
    (directory / "more").mkdir()
    for index, (name, pixels) in enumerate(photographs.items()):
        Image.fromarray(pixels).save(directory / ("more" if index % 2 else "") / f"{name}.png")
    return directory


def precision_of(bundle: Path) -> str:
    return bundle.name.removesuffix(".navit")


def load(bundle: Path, graph: str) -> onnx.ModelProto:
    return onnx.load(bundle / "graphs" / f"{graph}.onnx", load_external_data=False)


def constants(model: onnx.ModelProto, bundle: Path) -> dict[str, npt.NDArray[np.generic]]:
    values = {}
    for tensor in model.graph.initializer:
        onnx.external_data_helper.load_external_data_for_tensor(
            tensor, str(bundle / "graphs")
        ) if tensor.data_location == TensorProto.EXTERNAL else None
        values[tensor.name] = numpy_helper.to_array(tensor)
    return values


def snapshot(bundle: Path) -> dict[str, str]:
    return {
        path.relative_to(bundle).as_posix(): hashing.hash_file(path).sha256
        for path in bundle.rglob("*")
        if path.is_file()
    }


def change_weight(bundle: Path, name: str, change: npt.NDArray[np.float32] | float, at: int | None = None) -> None:
    """Multiplies a weight in the bundle's weights file, or row ``at`` of it, and seals the bundle again."""
    tensor = next(t for t in load(bundle, "padded").graph.initializer if t.name == name)
    place = {entry.key: entry.value for entry in tensor.external_data}
    path = bundle / "graphs" / "weights.bin"
    data = bytearray(path.read_bytes())
    offset, length = int(place["offset"]), int(place["length"])
    value = np.frombuffer(data, np.float32, length // 4, offset).reshape(tensor.dims).copy()
    value[slice(None) if at is None else at] *= change
    data[offset : offset + length] = value.tobytes()
    path.write_bytes(data)
    publish.seal(bundle, manifests.load(bundle))
