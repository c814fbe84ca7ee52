"""TensorRT engines for the GPU of this machine, from the `masked` graph: Jetson, data centre, workstation.

TensorRT is not on PyPI as a whole, and a Jetson brings its own: the system's copy is preferred, and its absence is
reported with the way to get it.
"""

from __future__ import annotations

import ctypes
import platform
import re
from typing import Any

from navit_edge.build import tensorrt_common
from navit_edge.build.common import cap_note, find_graph
from navit_edge.build.job import Emit, EnginePlan, Job, Outcome, Task
from navit_edge.build.request import BuildRequest
from navit_edge.errors import BackendError, InvalidInputError, MissingPackageError, import_or_explain
from navit_edge.manifest import Manifest

#: Engines with several profiles gave wrong numbers before this version (TensorRT 10.8 release notes).
_PROFILES_FIXED = (10, 8)
_OLDEST = (10, 3)

_PURPOSE = "building a TensorRT engine"


def plan(manifest: Manifest, request: BuildRequest) -> list[Job]:
    """A job for each precision, for this machine's GPU."""
    version = _version_numbers(_import_tensorrt().__version__)
    if version < _OLDEST:
        raise BackendError(
            f"TensorRT {_dotted(version)} is installed; expected {_dotted(_OLDEST)} or later; upgrade it: {remedy()}"
        )
    budgets = tensorrt_common.make_budgets(request)
    if len(budgets) > 1 and version < _PROFILES_FIXED:
        raise BackendError(
            f"TensorRT {_dotted(version)} gives wrong numbers for engines with several profiles, and "
            f"{len(budgets)} budgets were asked for; give one value to --token-budgets or use TensorRT "
            f"{_dotted(_PROFILES_FIXED)} or later"
        )
    capability = device_capability()
    target = f"sm{capability}"
    if "bf16" in request.precision and capability < 80:
        raise InvalidInputError(f"precision bf16 for {target}; it can do fp16, fp32; leave out --precision")
    jobs: list[Job] = []
    for precision in request.precision or (("bf16",) if capability >= 80 else ("fp16",)):
        name = f"tensorrt-{target}-{precision}"
        jobs.append(
            Job(
                backend="tensorrt",
                name=name,
                extension="plan",
                graph=find_graph(manifest, "masked"),
                model=manifest.model,
                engines=(EnginePlan(id=name, target=target, precision=precision),),
                strategy="first-fit-decreasing",
                dynamic_tokens=False,
                budgets=budgets,
                compute_capabilities=(target,),
                versions={"tensorrt": _dotted(version)},
                notes=cap_note(manifest, budgets) if not jobs else (),
            )
        )
    return jobs


def build(task: Task, emit: Emit) -> Outcome:
    """Compiles for this machine's GPU."""
    return tensorrt_common.build(
        task, emit, _import_tensorrt(), library="tensorrt", float32_products=True, configure=lambda *_: None
    )


def remedy() -> str:
    """How TensorRT comes onto this machine."""
    if platform.machine() == "aarch64":
        return (
            "on a Jetson it comes with JetPack: sudo apt install nvidia-jetpack, and make the virtual environment with "
            "`python3 -m venv --system-site-packages` so that it is seen"
        )
    return "pip install navit-edge[tensorrt], or NVIDIA's apt packages: sudo apt install python3-libnvinfer"


def _import_tensorrt() -> Any:
    trt = import_or_explain("tensorrt", purpose=_PURPOSE, remedy=remedy())
    if not hasattr(trt, "Builder"):  # an empty namespace package, or PyPI's stub without its libraries
        raise MissingPackageError(_PURPOSE, "tensorrt", f"what is installed has no builder; {remedy()}")
    return trt


def device_capability() -> int:
    """Compute capability of the first GPU, as in 87 for 8.7. Raises BackendError where there is none."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise BackendError(
            f"TensorRT builds for the GPU of this machine, and there is no NVIDIA driver here ({error}); run the build "
            "on the target, or build ahead of time with --backend tensorrt-rtx"
        ) from error
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    for code in (
        cuda.cuInit(0),
        cuda.cuDeviceGet(ctypes.byref(device), 0),
        cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device),  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device),
    ):
        if code != 0:
            raise BackendError(f"the NVIDIA driver finds no usable GPU (CUDA error {code}); check `nvidia-smi`")
    return major.value * 10 + minor.value


def _version_numbers(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None:
        raise BackendError(f"TensorRT says that its version is {version!r}; expected numbers such as 10.8.0")
    return int(match[1]), int(match[2])


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(str(part) for part in version)
