"""TensorRT engines for the GPU of this machine: Jetson, data centre, workstation.

TensorRT is not on PyPI as a whole, and a Jetson brings its own: the system's copy is preferred, and its absence is
reported with the way to get it.
"""

from __future__ import annotations

import platform
import re
from functools import cache, partial
from typing import Any

from navit_edge.bundle.manifest import Manifest
from navit_edge.compile import lowering, tensorrt_common
from navit_edge.compile.common import quantization_of
from navit_edge.compile.job import Emit, Job, Outcome, Preview, Task
from navit_edge.compile.request import BuildRequest
from navit_edge.compile.targets import COMPUTE_CAPABILITIES, check_precision, precisions_of
from navit_edge.errors import BackendError, InvalidInputError, MissingPackageError, import_or_explain
from navit_edge.machine import driver

#: Engines with several profiles gave wrong numbers before this version (TensorRT 10.8 release notes).
_PROFILES_FIXED = (10, 8)
_OLDEST = (10, 3)
_AMPERE = 80

_PURPOSE = "building a TensorRT engine"


def plan(manifest: Manifest, request: BuildRequest) -> list[Job]:
    """Jobs for each precision, for this machine's GPU; one for each budget if several profiles are unsafe."""
    trt = _import_tensorrt()
    version = _version_numbers(trt.__version__)
    if version < _OLDEST:
        raise BackendError(
            f"TensorRT {_dotted(version)} is installed; expected {_dotted(_OLDEST)} or later; upgrade it: {remedy()}"
        )
    capability = device_capability()
    target = f"sm{capability}"
    for precision in request.precision:
        check_precision(request.backend, precision, (target,))
    if request.compiler.hardware_compatibility == "ampere+":
        if capability < _AMPERE:
            raise InvalidInputError(f"--hardware-compatibility-level ampere+ on {target}; expected sm80 or later")
        target = "ampere+"
    precisions = request.precision or precisions_of(request.backend, f"sm{capability}")[:1]
    budgets = tensorrt_common.make_budgets(request)
    asked = lowering.question(manifest, "tensorrt", (), precisions=precisions, largest=budgets[-1])
    choose = partial(
        lowering.choose,
        manifest,
        request.lowering,
        backend=request.backend,
        probe=cache(partial(lowering.packed_kernels, [asked])),
        strict=request.strict,
    )
    unsafe = version < _PROFILES_FIXED and len(budgets) > 1
    jobs: list[Job] = []
    for precision in precisions:
        jobs += tensorrt_common.make_jobs(
            manifest,
            request,
            choose(quantization=quantization_of(precision)),
            target=target,
            precision=precision,
            capabilities=(f"sm{capability}",),
            versions={"tensorrt": str(trt.__version__), **driver.driver_versions()},
            per_budget=request.engine_per_budget or unsafe,
        )
    why = (
        f"TensorRT {_dotted(version)} gives wrong numbers for engines with several profiles (fixed in "
        f"{_dotted(_PROFILES_FIXED)})"
    )
    return tensorrt_common.notes_once(jobs, *([why] if unsafe and not request.engine_per_budget else []))


def preview(job: Job, graph: bytes) -> Preview:
    """What ``build`` would do."""
    return tensorrt_common.preview(job, graph, float32_products=True)


def build(task: Task, emit: Emit) -> Outcome:
    """Compiles for this machine's GPU."""
    library = tensorrt_common.Library(trt=_import_tensorrt(), name="tensorrt", opens_engines=True)
    return tensorrt_common.build(task, emit, library)


def remedy() -> str:
    """How TensorRT comes onto this machine."""
    if platform.machine() == "aarch64":
        return (
            "on a Jetson it comes with JetPack: sudo apt install nvidia-jetpack, and make the virtual environment with "
            "`python3 -m venv --system-site-packages` so that it is seen"
        )
    return 'pip install "navit-edge[tensorrt]", or NVIDIA\'s apt packages: sudo apt install python3-libnvinfer'


def device_capability() -> int:
    """Compute capability of the first GPU, as in 87 for 8.7. Raises BackendError where there is none."""
    return driver.device_capability(
        what="TensorRT builds for the GPU of this machine",
        otherwise="run the build on the target, or build ahead of time with --backend tensorrt-rtx "
        f"({', '.join(COMPUTE_CAPABILITIES)} only)",
    )


def _import_tensorrt() -> Any:
    trt = import_or_explain("tensorrt", purpose=_PURPOSE, remedy=remedy())
    if not hasattr(trt, "Builder"):  # an empty namespace package, or PyPI's stub without its libraries
        raise MissingPackageError(_PURPOSE, "tensorrt", f"the installed TensorRT has no builder; {remedy()}")
    return trt


def _version_numbers(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None:
        raise BackendError(f"TensorRT says that its version is {version!r}; expected numbers such as 10.8.0")
    return int(match[1]), int(match[2])


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(str(part) for part in version)
