"""NVIDIA's driver and its GPUs, and whether the driver is new enough for the TensorRT that is here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from navit_edge.compile.targets import COMPUTE_CAPABILITIES, number
from navit_edge.doctor.finding import Finding, State
from navit_edge.machine.text import gib
from navit_edge.machine.versions import as_numbers, cuda_version

_JETPACK_COMMAND = "sudo apt install nvidia-jetpack"
#: Major version of CUDA -> the oldest driver that runs software built with any of its minor versions (NVIDIA, "CUDA
#: Compatibility", minor version compatibility).
_DRIVER_OF_CUDA = {11: "450", 12: "525", 13: "580"}
#: TensorRT from this version on -> what the driver must serve (its support matrices and prerequisites: 10.x runs with
#: any 12.x, unless it was built with another CUDA, as its package then says; 11.x asks for driver 535: CUDA 12.2).
_CUDA_OF_TENSORRT = (((11, 0), 12020, "535"), ((10, 0), 12000, "525"))
#: Compute capability from this one on -> the first TensorRT that compiles for it (release notes: Blackwell in 10.8).
_TENSORRT_OF_GPU = ((100, (10, 8)),)
#: Compute capabilities that tensorrt-rtx builds for; sm87 (Orin), sm90 (Hopper) and others take the backend tensorrt.
RTX_CAPABILITIES = tuple(number(target) for target in COMPUTE_CAPABILITIES)
#: What people call the GPUs that TensorRT-RTX does not know (NVIDIA, "CUDA GPU Compute Capability").
_FAMILY = {87: "Orin", 90: "Hopper", 100: "Blackwell B200", 103: "Blackwell B300", 110: "Thor"}


@dataclass(frozen=True, kw_only=True)
class TensorRT:
    """A runtime library. cuda_major: that it was built with, as its package says, or 0."""

    version: str
    product: str
    cuda_major: int = 0


def driver_findings(answer: dict[str, Any], kernel: str, *, jetson: bool) -> tuple[Finding, ...]:
    """The driver and each GPU. ``answer``: of the probe "cuda"; ``kernel``: /proc/driver/nvidia/version."""
    install = (_JETPACK_COMMAND,) if jetson else ()
    if "absent" in answer:
        text = "none (no libcuda.so.1); only engines for a GPU need one"
        if kernel:
            text = "the kernel has its module and this process cannot see libcuda.so.1; in a container, give it the GPU"
            install = ("docker run --gpus all IMAGE",)
        return (Finding("NVIDIA driver", State.PROBLEM if kernel else State.ABSENT, text, remedy=install),)
    if "error" in answer:
        return (
            Finding("NVIDIA driver", State.PROBLEM, f"asking it failed: {answer['error']}", remedy=("nvidia-smi",)),
        )
    match = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", kernel)
    words = f"{match[1]}, " if match is not None else ""
    words += f"serves CUDA {cuda_version(answer['driver'])}" if "driver" in answer else "does not say its version"
    if "init_error" in answer:
        return (
            Finding(
                "NVIDIA driver",
                State.PROBLEM,
                f"{words}, and does not start: {answer['init_error']}",
                remedy=("nvidia-smi", *(() if jetson else ("sudo reboot  # after an upgrade of the driver",))),
                facts=answer,
            ),
        )
    gpus = [
        Finding(
            f"GPU {ordinal}",
            State.FOUND,
            f"{gpu['name']}, sm{gpu['capability']}, {gib(gpu['memory_bytes'])}"
            + (", shared with the CPU" if gpu["integrated"] else "")
            + _refused_by_rtx(gpu["capability"]),
            facts=gpu,
        )
        for ordinal, gpu in enumerate(answer["gpus"])
    ]
    if not gpus:
        words += "; it finds no GPU (is CUDA_VISIBLE_DEVICES empty?)"
    return (
        Finding(
            "NVIDIA driver",
            State.FOUND if gpus else State.PROBLEM,
            words,
            remedy=() if gpus else ("nvidia-smi", "unset CUDA_VISIBLE_DEVICES"),
            facts=answer,
        ),
        *gpus,
    )


def _refused_by_rtx(capability: int) -> str:
    """Which library is for a GPU that TensorRT-RTX compiles nothing for; "" for the others."""
    if capability < 75 or capability in RTX_CAPABILITIES:
        return ""
    return f"; {_FAMILY.get(capability, f'sm{capability}')}: TensorRT, not TensorRT-RTX"


def needs_finding(
    library: TensorRT, served: int, capabilities: tuple[int, ...], *, system: str, jetson: bool
) -> Finding:
    """Whether the driver and the GPU are what this TensorRT needs. served: by the driver, as 12080; 0 if unknown."""
    name = f"{library.product} {library.version} and the driver"
    facts: dict[str, Any] = {"version": library.version, "cuda_major": library.cuda_major or None, "driver": served}
    wanted, driver = _wanted(library)
    facts["needs_cuda"] = cuda_version(wanted) if wanted else None
    if served and wanted > served:
        text = (
            f"the driver serves CUDA {cuda_version(served)}; this library needs {cuda_version(wanted)}, "
            f"which is driver {driver} or later"
        )
        remedy = _upgrade(library, system=system, jetson=jetson)
        return Finding(name, State.PROBLEM, text, remedy=remedy, facts=facts)
    if library.product == "TensorRT":
        for least, first in _TENSORRT_OF_GPU:
            newest = max(capabilities, default=0)
            if newest >= least and as_numbers(library.version)[:2] < first:
                text = f"it knows no sm{newest}; expected TensorRT {first[0]}.{first[1]} or later"
                remedy = (_JETPACK_COMMAND,) if jetson else ('pip install --upgrade "navit-edge[tensorrt]"',)
                return Finding(name, State.PROBLEM, text, remedy=remedy, facts=facts)
    elif capabilities and not set(capabilities) & set(RTX_CAPABILITIES):
        text = f"it compiles for {', '.join(COMPUTE_CAPABILITIES)}{_refused_by_rtx(capabilities[0])}"
        remedy = (_JETPACK_COMMAND,) if jetson else ('pip install "navit-edge[tensorrt]"',)
        return Finding(name, State.PROBLEM, text, remedy=remedy, facts=facts)
    text = f"fit: it needs CUDA {cuda_version(wanted)} of the driver" if wanted else "what it needs is not known"
    text += f", which serves {cuda_version(served)}" if served and wanted else ""
    return Finding(name, State.FOUND, text, facts=facts)


def _wanted(library: TensorRT) -> tuple[int, str]:
    """(CUDA that the driver must serve, the oldest such driver)."""
    wanted, driver = 0, ""
    if library.cuda_major in _DRIVER_OF_CUDA:
        wanted, driver = library.cuda_major * 1000, _DRIVER_OF_CUDA[library.cuda_major]
    if library.product == "TensorRT":
        for least, cuda, oldest in _CUDA_OF_TENSORRT:
            if as_numbers(library.version)[:2] >= least and not (wanted and least == (10, 0)):
                return (cuda, oldest) if cuda > wanted else (wanted, driver)
    return wanted, driver


def _upgrade(library: TensorRT, *, system: str, jetson: bool) -> tuple[str, ...]:
    if jetson:  # the driver is part of Jetson Linux
        return ("sudo apt update && sudo apt full-upgrade  # Jetson Linux brings its driver; a major one is flashed",)
    commands = []
    if system.startswith("Ubuntu"):
        commands.append("sudo ubuntu-drivers install")
    elif system.startswith("Debian"):
        commands.append("sudo apt install nvidia-driver")
    if library.cuda_major == 13:
        stem = "tensorrt-rtx" if library.product != "TensorRT" else "tensorrt"
        commands.append(f"pip install {stem}-cu12  # the same for CUDA 12, beside the driver as it is")
    return tuple(commands) or ("nvidia-smi",)
