"""NVIDIA's driver, CUDA and TensorRT, as far as they are installed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from navit_edge.doctor.finding import Finding, State
from navit_edge.doctor.host import gib, read_text
from navit_edge.doctor.jetson import Jetson
from navit_edge.doctor.probe import shared_objects

Probe = Callable[..., dict[str, Any]]

_DRIVER_FILE = "proc/driver/nvidia/version"
_JETPACK_COMMAND = "sudo apt install nvidia-jetpack"
_MAJORS = (11, 10)
_CUDA_MAJORS = (13, 12)


@dataclass(frozen=True, kw_only=True)
class Nvidia:
    """capabilities: of each GPU, as 87 for 8.7; empty where none can be used. driver: whether libcuda is here.
    cuda: what the driver serves, as "12.8", or "". tensorrt, rtx: version of the runtime library, or ""."""

    driver: bool
    capabilities: tuple[int, ...]
    cuda: str
    tensorrt: str
    lean: str
    rtx: str
    findings: tuple[Finding, ...]

    @classmethod
    def read(cls, probe: Probe, root: Path = Path("/"), board: Jetson | None = None) -> Nvidia:
        """Asks every library in a process of its own, through ``probe``."""
        driver = probe("cuda")
        served = driver.get("driver", 0) // 1000
        runtime = probe("library_version", "cudaRuntimeGetVersion", *_cuda_runtimes(served))
        system = probe("library_version", "getInferLibVersion", *_named("libnvinfer.so", "tensorrt_libs"))
        lean = probe("library_version", "getInferLibVersion", *_named("libnvinfer_lean.so", "tensorrt_lean_libs"))
        rtx = probe("library_version", "getInferLibVersion", *_rtx())
        builders = {name: probe("python_module", name) for name in ("tensorrt", "tensorrt_rtx")}
        jetson = board is not None
        cuda = driver.get("driver")
        return cls(
            driver="absent" not in driver and "error" not in driver,
            capabilities=tuple(gpu["capability"] for gpu in driver.get("gpus", ())),
            cuda=cuda_version(cuda) if cuda else "",
            tensorrt=_version(system, tensorrt_version),
            lean=_version(lean, tensorrt_version),
            rtx=_version(rtx, rtx_version),
            findings=(
                *driver_findings(driver, read_text(root / _DRIVER_FILE), jetson=jetson),
                runtime_finding(runtime, served, jetson=jetson),
                _library("TensorRT", system, tensorrt_version,
                         "no libnvinfer; engines of the backend tensorrt need it",
                         (_JETPACK_COMMAND,) if jetson else ("pip install navit-edge[tensorrt]",)),
                _library("TensorRT, lean runtime", lean, tensorrt_version,
                         "no libnvinfer_lean; only engines built with --version-compatible can use it",
                         ("pip install tensorrt-lean-cu12-libs",)),
                _library("TensorRT for RTX", rtx, rtx_version,
                         "no libtensorrt_rtx; engines of the backend tensorrt-rtx need it",
                         ("pip install navit-edge[tensorrt-rtx]",)),
                _builder("TensorRT, Python builder", builders["tensorrt"], "tensorrt",
                         _JETPACK_COMMAND if jetson else "pip install navit-edge[tensorrt]"),
                _builder("TensorRT for RTX, Python builder", builders["tensorrt_rtx"], "tensorrt-rtx",
                         "pip install navit-edge[tensorrt-rtx]"),
            ),
        )  # fmt: skip


def driver_findings(answer: dict[str, Any], kernel: str, *, jetson: bool) -> tuple[Finding, ...]:
    """The driver and each GPU. ``answer``: of the probe "cuda"; ``kernel``: /proc/driver/nvidia/version."""
    install = (_JETPACK_COMMAND,) if jetson else ()
    if "absent" in answer:
        text = "none (no libcuda.so.1); only engines for a GPU need one"
        if kernel:
            text = "the kernel has its module and this process cannot see libcuda.so.1; in a container, give it the GPU"
            install = ("docker run --gpus all IMAGE",)
        return (
            Finding(name="NVIDIA driver", state=State.PROBLEM if kernel else State.ABSENT, text=text, remedy=install),
        )
    if "error" in answer:
        return (
            Finding(
                name="NVIDIA driver",
                state=State.PROBLEM,
                text=f"asking it failed: {answer['error']}",
                remedy=("nvidia-smi",),
            ),
        )
    match = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", kernel)
    words = f"{match[1]}, " if match is not None else ""
    words += f"serves CUDA {cuda_version(answer['driver'])}" if "driver" in answer else "does not say its version"
    if "init_error" in answer:
        return (
            Finding(
                name="NVIDIA driver",
                state=State.PROBLEM,
                text=f"{words}, and does not start: {answer['init_error']}",
                remedy=("nvidia-smi", *(() if jetson else ("sudo reboot  # after an upgrade of the driver",))),
                facts=answer,
            ),
        )
    gpus = [
        Finding(
            name=f"GPU {ordinal}",
            state=State.FOUND,
            text=f"{gpu['name']}, sm{gpu['capability']}, {gib(gpu['memory_bytes'])}"
            + (", shared with the CPU" if gpu["integrated"] else ""),
            facts=gpu,
        )
        for ordinal, gpu in enumerate(answer["gpus"])
    ]
    if not gpus:
        words += "; it finds no GPU (is CUDA_VISIBLE_DEVICES empty?)"
    return (
        Finding(
            name="NVIDIA driver",
            state=State.FOUND if gpus else State.PROBLEM,
            text=words,
            remedy=() if gpus else ("nvidia-smi", "unset CUDA_VISIBLE_DEVICES"),
            facts=answer,
        ),
        *gpus,
    )


def runtime_finding(answer: dict[str, Any], served: int, *, jetson: bool) -> Finding:
    """libcudart. ``served``: the major version of CUDA that the driver serves, 0 where there is no driver."""
    install = (_JETPACK_COMMAND if jetson else "pip install nvidia-cuda-runtime-cu12",)
    absent = "no libcudart; TensorRT engines need it, all else does not"
    found = _library("CUDA runtime", answer, cuda_version, absent, install)
    if served and answer.get("version", 0) // 1000 > served:
        text = (
            f"{found.text} is newer than the driver, which serves CUDA {served}; upgrade the driver, or install CUDA 12"
        )
        return replace(found, state=State.PROBLEM, text=text, remedy=install)
    return found


def cuda_version(number: int) -> str:
    """12080 -> "12.8"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def tensorrt_version(number: int) -> str:
    """What getInferLibVersion gives: 101501 -> "10.15.1"; before 10, 8601 -> "8.6.1"."""
    if number < 10000:
        return f"{number // 1000}.{number % 1000 // 100}.{number % 100}"
    return f"{number // 10000}.{number % 10000 // 100}.{number % 100}"


def rtx_version(number: int) -> str:
    """What TensorRT-RTX's getInferLibVersion gives: 1701 or 10701 -> "1.7.1"."""
    unit = 10000 if number >= 10000 else 1000
    return f"{number // unit}.{number % unit // 100}.{number % 100}"


def _version(answer: dict[str, Any], words: Callable[[int], str]) -> str:
    return words(answer["version"]) if "version" in answer else ""


def _library(
    name: str, answer: dict[str, Any], words: Callable[[int], str], absent: str, install: tuple[str, ...]
) -> Finding:
    if "absent" in answer:
        return Finding(name=name, state=State.ABSENT, text=absent, remedy=install)
    if "version" not in answer:
        return Finding(name=name, state=State.PROBLEM, text=f"it does not load: {answer['error']}", remedy=install)
    facts = {"version": words(answer["version"]), "file": answer["file"]}
    return Finding(name=name, state=State.FOUND, text=f"{facts['version']} ({answer['file']})", facts=facts)


def _builder(name: str, answer: dict[str, Any], backend: str, install: str) -> Finding:
    if "absent" in answer:
        text = f"not installed; only build-engine --backend {backend} needs it"
        return Finding(name=name, state=State.ABSENT, text=text, remedy=(install,))
    if "version" not in answer:
        return Finding(name=name, state=State.PROBLEM, text=str(answer["error"]), remedy=(install,))
    return Finding(name=name, state=State.FOUND, text=str(answer["version"]), facts={"version": answer["version"]})


def _named(stem: str, module: str) -> list[str]:
    """The loader's own places first, then the package's."""
    return [f"{stem}.{major}" for major in _MAJORS] + shared_objects(module, f"{stem}.*")


def _rtx() -> list[str]:
    return ["libtensorrt_rtx.so.1", *shared_objects("tensorrt_rtx_libs", "libtensorrt_rtx.so.*")]


def _cuda_runtimes(served: int) -> list[str]:
    """In the order of the backend: the newest that the driver serves, older ones, then newer ones."""
    found = [f"libcudart.so.{major}" for major in sorted(_CUDA_MAJORS, key=lambda major: (major > served > 0, -major))]
    for module in ("nvidia.cuda_runtime", "nvidia.cu13"):
        found += shared_objects(module, "libcudart.so.*", "lib")
    return found
