"""What the tests of TensorRT-RTX builds of S/16 share: quantized graphs, and which engines are built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from navit_edge.compile.report import BuildReport
from navit_edge.quantize import QuantizeRequest, quantize_bundle

Photographs = Mapping[str, npt.NDArray[np.uint8]]
#: (targets, precision): every precision on the targets that have it; without NAVIT_EDGE_TESTS_WHOLE each kind once.
BUILDS = [
    ("sm86+sm89+sm120", "bf16"),
    ("sm75", "int8"),
    ("sm89", "fp8"),
    *(
        [("sm75", "fp16"), ("sm86+sm89+sm120", "fp16"), ("sm86+sm89+sm120", "int8")]
        if "NAVIT_EDGE_TESTS_WHOLE" in os.environ
        else []
    ),
]


def add_quantized_graphs(bundle: Path, photographs: Photographs, images: Path) -> Path:
    """int8 and fp8, calibrated on real photographs."""
    for name in ("page", "eye", "cat"):
        Image.fromarray(photographs[name]).save(images / f"{name}.png")
    for precision in ("int8", "fp8"):
        quantize_bundle(bundle, QuantizeRequest(calibration=images, precision=precision, holdout=0.0))
    return bundle


def read_report(bundle: Path, name: str | None) -> BuildReport:
    return msgspec.json.decode((bundle / str(name)).read_bytes(), type=BuildReport)
