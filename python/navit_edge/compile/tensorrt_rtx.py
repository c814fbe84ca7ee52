"""TensorRT-RTX engines for chosen compute capabilities, compiled ahead of time.

No GPU is needed to build. sm75 gets an engine of its own: in a list with others it would give all of them Turing's
kernels, and it has neither bf16 nor float32 matrix products.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from navit_edge.bundle.manifest import Manifest
from navit_edge.compile import lowering, tensorrt_common
from navit_edge.compile.common import package_version, quantization_of
from navit_edge.compile.job import Emit, Job, Outcome, Preview, Task
from navit_edge.compile.request import BuildRequest
from navit_edge.compile.targets import (
    COMPUTE_CAPABILITIES,
    DEFAULT_TARGETS,
    NATIVE,
    TURING,
    check_fp32_trunk,
    check_precision,
    number,
    precisions_of,
)
from navit_edge.errors import BackendError, MissingPackageError, import_or_explain
from navit_edge.machine import driver

_PURPOSE = "building a TensorRT-RTX engine"
_REMEDY = 'pip install "navit-edge[tensorrt-rtx]"'


def plan(manifest: Manifest, request: BuildRequest) -> list[Job]:
    """Jobs for each precision of each group of targets."""
    _require_package()
    targets = request.targets or DEFAULT_TARGETS
    if targets == (NATIVE,):
        targets = (native_target(),)
        for precision in request.precision:
            check_precision(request.backend, precision, targets)
        if request.fp32_trunk:
            check_fp32_trunk(request.backend, targets)
    ordered = sorted(targets, key=number)
    groups = [group for group in ([t for t in ordered if t != TURING], [t for t in ordered if t == TURING]) if group]
    precisions = {tuple(group): request.precision or precisions_of(request.backend, group[0])[:1] for group in groups}
    largest = tensorrt_common.make_budgets(request)[-1]
    asked = [
        lowering.question(manifest, "tensorrt_rtx", group, precisions=wanted, largest=largest)
        for group, wanted in precisions.items()
    ]
    choose = partial(
        lowering.choose,
        manifest,
        request.lowering,
        backend=request.backend,
        probe=cache(partial(lowering.packed_kernels, asked)),
        strict=request.strict,
    )
    jobs: list[Job] = []
    for group, wanted in precisions.items():
        for precision in wanted:
            jobs += tensorrt_common.make_jobs(
                manifest,
                request,
                choose(quantization=quantization_of(precision)),
                target="+".join(group),
                precision=precision,
                capabilities=group,
                versions={
                    "tensorrt-rtx": package_version("tensorrt-rtx-cu12", "tensorrt-rtx-cu13", "tensorrt-rtx"),
                    "onnx": package_version("onnx"),
                },
                per_budget=request.engine_per_budget,
            )
    return tensorrt_common.notes_once(jobs)


def native_target() -> str:
    """The GPU of this machine, if TensorRT-RTX compiles for it; the same engine as if it were named."""
    capability = driver.device_capability(
        what="--target native builds for the GPU of this machine",
        otherwise=f"name the GPUs it is to run on, which needs none here: --target sm86,sm89 "
        f"(known: {', '.join(COMPUTE_CAPABILITIES)})",
    )
    target = f"sm{capability}"
    if target not in COMPUTE_CAPABILITIES:
        raise BackendError(
            f"the GPU of this machine is {target}; TensorRT-RTX compiles for {', '.join(COMPUTE_CAPABILITIES)}; "
            "use --backend tensorrt"
        )
    return target


def preview(job: Job, graph: bytes) -> Preview:
    """What ``build`` would do."""
    return tensorrt_common.preview(job, graph, float32_products=_has_float32_products(job))


def build(task: Task, emit: Emit) -> Outcome:
    """Compiles for the job's compute capabilities."""
    trt = import_or_explain("tensorrt_rtx", purpose=_PURPOSE, remedy=_REMEDY)
    library = tensorrt_common.Library(
        trt=trt,
        name="tensorrt-rtx",
        float32_products=_has_float32_products(task.job),
        configure=lambda config: name_capabilities(trt, config, task.job.compute_capabilities),
        probe_always=True,
    )
    return tensorrt_common.build(task, emit, library)


def name_capabilities(trt: Any, config: Any, targets: tuple[str, ...]) -> None:
    """Tells a builder's config which GPUs to compile for ("sm86").

    Unset, TensorRT-RTX 1.7 compiles for every GPU that it knows but sm75 if this machine has none.
    """
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)


def _has_float32_products(job: Job) -> bool:
    return TURING not in job.compute_capabilities


def _require_package() -> None:
    import importlib.util

    for module in ("tensorrt_rtx", "onnx"):
        if importlib.util.find_spec(module) is None:
            raise MissingPackageError(_PURPOSE, module, _REMEDY)
