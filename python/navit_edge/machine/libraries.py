"""Where the TensorRT plug-ins look for NVIDIA's libraries (csrc/backends/tensorrt/library.cc), and what pip brought.

Nothing is imported and nothing is loaded.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

TENSORRT_DIR = "NAVIT_EDGE_TENSORRT_DIR"
BACKEND_DIR = "NAVIT_EDGE_BACKEND_DIR"
CUDA_DIRECTORY = "/usr/local/cuda/lib64"
MAJORS = (10, 11)  # of TensorRT
CUDA_MAJORS = (13, 12)
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

    The backend looks there last, and not at all if NAVIT_EDGE_TENSORRT_DIR or the option tensorrt_dir names a place.
    """
    return [place / package for package in TENSORRT_WHEELS for place in _import_path() if (place / package).is_dir()]


def _import_path() -> list[Path]:
    """Where Python imports from, less the working directory: a file that lies there by chance must not be run."""
    here = Path.cwd()
    places: list[Path] = []
    for entry in sys.path:
        # A colon would part the path in two if the backend is told of it.
        if not os.path.isabs(entry) or ":" in entry:
            continue
        place = Path(entry)
        if place.resolve() != here and place not in places:
            places.append(place)
    return places


def directories_of(variable: str) -> tuple[list[str], list[str]]:
    """The absolute directories of a variable with colons in it, and what is relative, which is not searched."""
    parts = [part for part in os.environ.get(variable, "").split(":") if part]
    return [part for part in parts if part.startswith("/")], [part for part in parts if not part.startswith("/")]


def tensorrt_files(stem: str, package: str, majors: tuple[int, ...] = MAJORS) -> dict[str, str]:
    """File -> origin, in the order of the plug-in, which ends with what pip brought. stem: "libnvinfer.so"."""
    return _files([f"{stem}.{major}" for major in majors], [(package, ".", f"{stem}.*")])


def rtx_files() -> dict[str, str]:
    return _files(["libtensorrt_rtx.so.1"], [("tensorrt_rtx_libs", ".", "libtensorrt_rtx.so.*")])


def cuda_runtime_files(served: int) -> dict[str, str]:
    """The newest that the driver serves, older ones, then newer ones. served: major version of CUDA, 0 for none."""
    majors = sorted(CUDA_MAJORS, key=lambda major: (major > served > 0, -major))
    names = [f"libcudart.so.{major}" for major in majors]
    wheels = [(package, "lib", "libcudart.so.*") for package in ("nvidia.cuda_runtime", "nvidia.cu13")]
    return _files(names, wheels, last=CUDA_DIRECTORY)


def _files(names: list[str], wheels: list[tuple[str, str, str]], last: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for directory in directories_of(TENSORRT_DIR)[0]:
        found.update({f"{directory}/{name}": TENSORRT_DIR for name in names})
    found.update(dict.fromkeys(names, "the dynamic loader"))
    if last:
        found.update({f"{last}/{name}": last for name in names})
    if not directories_of(TENSORRT_DIR)[0]:  # a place that is named takes the place of the wheels
        for package, folder, pattern in wheels:
            for file in shared_objects(package, pattern, folder):
                found.setdefault(file, "pip")
    return found


def served_major(plugin: Path) -> int:
    """The major version of TensorRT that a plug-in was compiled for: its headers', as the names that it opens say.

    0 if the file names none.
    """
    try:
        match = re.search(rb"libnvinfer\.so\.(\d+)\0", plugin.read_bytes())
    except OSError:
        return 0
    return int(match[1]) if match is not None else 0


def cuda_of_wheel(file: str, answer: dict[str, Any]) -> int:
    """The major version of CUDA that the package of a library was built for, as its name says; 0 where it is none."""
    for name, told in answer.get("wheels", {}).items():
        match = re.search(r"-cu(\d+)", name)
        if match is not None and told["directory"] and Path(file).parent == Path(told["directory"]):
            return int(match[1])
    return 0


def shared_objects(package: str, pattern: str, folder: str = ".") -> list[str]:
    """Libraries inside an installed package, found without importing it."""
    return sorted(str(file) for place in package_directories(package) for file in (place / folder).glob(pattern))


def package_directories(package: str) -> list[Path]:
    """Where an installed package lies, found without importing it; empty if it is not installed."""
    from importlib.util import find_spec

    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return []
    return [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
