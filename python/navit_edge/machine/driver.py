"""The GPU of this machine and its driver, asked through the driver's own library, without CUDA or torch."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

from navit_edge.errors import BackendError
from navit_edge.machine.versions import cuda_version

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_KERNEL_DRIVER = Path("/proc/driver/nvidia/version")


def device_capability(*, what: str, otherwise: str) -> int:
    """Compute capability of the first GPU, as in 87 for 8.7.

    what: Why a GPU is needed, a sentence without its end.
    otherwise: What to do if there is none.

    Raises BackendError: There is no driver or no GPU.
    """
    cuda = _load_driver(what, otherwise)
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    for code in (
        cuda.cuInit(0),
        cuda.cuDeviceGet(ctypes.byref(device), 0),
        cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device),
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device),
    ):
        if code != 0:
            raise BackendError(
                f"{what}, and the NVIDIA driver finds no usable GPU (CUDA error {code}); check `nvidia-smi`, or "
                f"{otherwise}"
            )
    return int(major.value) * 10 + int(minor.value)


def driver_versions() -> dict[str, str]:
    """What decides a native build beside the library: {"cuda-driver": "12.8", "nvidia-driver": "570.86.10"}."""
    versions: dict[str, str] = {}
    try:
        cuda, number = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
        if cuda.cuDriverGetVersion(ctypes.byref(number)) == 0:
            versions["cuda-driver"] = cuda_version(number.value)
    except (OSError, AttributeError):
        return versions
    try:
        match = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", _KERNEL_DRIVER.read_text(errors="replace"))
    except OSError:  # a Jetson has none
        match = None
    if match is not None:
        versions["nvidia-driver"] = match[1]
    return versions


def _load_driver(what: str, otherwise: str) -> Any:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise BackendError(f"{what}, and there is no NVIDIA driver here ({error}); {otherwise}") from error
