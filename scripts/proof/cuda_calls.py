"""The CUDA runtime that our back end uses, called from Python: NVIDIA's, or the simulated one of a rehearsal."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any, ClassVar

_LOADED_ONLY = 0x4  # RTLD_NOLOAD
_HOST_ALLOC_MAPPED = 2
_NON_BLOCKING = 1
_CAPABILITY = (75, 76)  # cudaDevAttrComputeCapabilityMajor, Minor


class CudaCallError(Exception):
    """A call that gave an error."""


class NoRuntimeError(RuntimeError):
    """Nothing in this process has opened a CUDA runtime."""


class Cuda:
    """simulated: the folder of tests/simulator's libraries, in place of NVIDIA's; they are found by their names then,
    by whoever opens them later in this process. Without, PyTorch or our back end has opened NVIDIA's runtime; raises
    NoRuntimeError if neither has."""

    HOST_FUNCTION: ClassVar[Any] = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

    def __init__(self, simulated: Path | None = None) -> None:
        self.simulated = simulated is not None
        if simulated is not None:
            open_files = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
            ours = simulated.resolve() / "cudart" / "libcudart.so.12"
            if any(Path(file).name == ours.name and Path(file) != ours for file in open_files):
                raise RuntimeError(
                    "this PyTorch has opened a libcudart.so.12 of its own, and a rehearsal needs the simulated one; "
                    "install PyTorch for CPUs, or use --device cuda"
                )
            self._library = ctypes.CDLL(str(ours))
            self._driver = ctypes.CDLL(str(simulated / "cuda" / "libcuda.so.1"))
        else:
            self._library = _opened_runtime()

    def call(self, name: str, *arguments: Any) -> None:
        """Raises CudaCallError if it fails."""
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            text = self._library.cudaGetErrorName
            text.restype = ctypes.c_char_p
            raise CudaCallError(f"{name} failed: {text(status).decode()} ({status})")

    def make_stream(self) -> ctypes.c_void_p:
        stream = ctypes.c_void_p()
        self.call("cudaStreamCreateWithFlags", ctypes.byref(stream), _NON_BLOCKING)
        return stream

    def mapped(self, size: int) -> tuple[int, int]:
        """Page-locked memory: its address of the host and of the device. ``cudaFreeHost`` ends it."""
        host, device = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cudaHostAlloc", ctypes.byref(host), ctypes.c_size_t(size), _HOST_ALLOC_MAPPED)
        self.call("cudaHostGetDevicePointer", ctypes.byref(device), host, 0)
        return host.value or 0, device.value or 0

    def capability(self) -> int:
        """Of device 0, as 89."""
        numbers = []
        for attribute in _CAPABILITY:
            number = ctypes.c_int()
            self.call("cudaDeviceGetAttribute", ctypes.byref(number), attribute, 0)
            numbers.append(number.value)
        return 10 * numbers[0] + numbers[1]

    def free_bytes(self) -> int:
        """Of the device's memory."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def report(self) -> dict[str, Any]:
        """Of the simulated CUDA: rules that were broken, objects that are alive, events."""
        text = ctypes.create_string_buffer(1 << 16)
        self._library.navit_edge_sim_report(text, ctypes.c_size_t(len(text)))
        found: dict[str, Any] = json.loads(text.value)
        return found


def opened() -> Cuda | None:
    """Of the runtime that something in this process has opened; None if nothing has."""
    try:
        return Cuda()
    except NoRuntimeError:
        return None


def _opened_runtime() -> ctypes.CDLL:
    for major in (13, 12):
        try:
            return ctypes.CDLL(f"libcudart.so.{major}", mode=_LOADED_ONLY)
        except OSError:
            continue
    raise NoRuntimeError(
        "no CUDA runtime is open in this process; expected PyTorch's; import torch built for CUDA first"
    )
