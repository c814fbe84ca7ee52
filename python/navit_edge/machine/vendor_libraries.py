"""Where wheels keep the libraries of vendors that a backend opens by itself, found without importing anything."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: Packages of TensorRT's and CUDA's wheels, in the order their libraries are preferred: the whole TensorRT, its lean
#: runtime, TensorRT-RTX, then the CUDA runtime (tensorrt-cu12-libs, tensorrt-lean-cu12-libs, tensorrt-rtx-cu12-libs,
#: nvidia-cuda-runtime, nvidia-cuda-runtime-cu12).
TENSORRT_WHEELS = (
    "tensorrt_libs",
    "tensorrt_lean_libs",
    "tensorrt_rtx_libs",
    "nvidia/cu13/lib",
    "nvidia/cuda_runtime/lib",
)


def tensorrt_directories() -> list[Path]:
    """Directories of installed wheels that may hold TensorRT or the CUDA runtime, best first; all of them exist.

    The backend looks there last, and not at all where NAVIT_EDGE_TENSORRT_DIR or the option tensorrt_dir names a place.
    """
    return [place / package for package in TENSORRT_WHEELS for place in _import_path() if (place / package).is_dir()]


def _import_path() -> list[Path]:
    """Where Python imports from, less the working directory: a file that lies there by chance must not be run."""
    here = Path.cwd()
    places: list[Path] = []
    for entry in sys.path:
        # A colon would part the path in two where the backend is told of it.
        if not os.path.isabs(entry) or ":" in entry:
            continue
        place = Path(entry)
        if place.resolve() != here and place not in places:
            places.append(place)
    return places
