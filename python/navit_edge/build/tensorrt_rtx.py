"""TensorRT-RTX engines for chosen compute capabilities, compiled ahead of time from the `masked` graph.

No GPU is needed to build. sm75 gets an engine of its own: in a list with others it would give all of them Turing's
kernels, and it has neither bf16 nor float32 matrix products.
"""

from __future__ import annotations

from typing import Any

from navit_edge.build import tensorrt_common
from navit_edge.build.common import cap_note, find_graph, package_version
from navit_edge.build.job import Emit, EnginePlan, Job, Outcome, Task
from navit_edge.build.request import BuildRequest
from navit_edge.errors import MissingPackageError, import_or_explain
from navit_edge.manifest import Manifest

#: RTX cards of the generations Ampere, Ada and Blackwell: one engine runs on all of them.
DEFAULT_TARGETS = ("sm86", "sm89", "sm120")
TURING = "sm75"

_PURPOSE = "building a TensorRT-RTX engine"
_REMEDY = "pip install navit-edge[tensorrt-rtx]"


def plan(manifest: Manifest, request: BuildRequest) -> list[Job]:
    """A job for each precision of each group of targets."""
    _require_package()
    targets = request.targets or DEFAULT_TARGETS
    ordered = sorted(targets, key=lambda name: int(name.removeprefix("sm")))
    groups = [group for group in ([t for t in ordered if t == TURING], [t for t in ordered if t != TURING]) if group]
    budgets = tensorrt_common.make_budgets(request)
    jobs: list[Job] = []
    for group in reversed(groups):
        target = "+".join(group)
        for precision in request.precision or default_precisions(group):
            name = f"tensorrt-rtx-{target}-{precision}"
            jobs.append(
                Job(
                    backend="tensorrt-rtx",
                    name=name,
                    extension="plan",
                    graph=find_graph(manifest, "masked"),
                    model=manifest.model,
                    engines=(EnginePlan(id=name, target=target, precision=precision),),
                    strategy="first-fit-decreasing",
                    dynamic_tokens=False,
                    budgets=budgets,
                    compute_capabilities=tuple(group),
                    versions={
                        "tensorrt-rtx": package_version("tensorrt-rtx-cu12", "tensorrt-rtx-cu13", "tensorrt-rtx"),
                        "onnx": package_version("onnx"),
                    },
                    notes=cap_note(manifest, budgets) if not jobs else (),
                )
            )
    return jobs


def default_precisions(targets: list[str]) -> tuple[str, ...]:
    """bf16, whose range is that of float32, so that no checkpoint overflows; fp16 where there is no bf16."""
    return ("fp16",) if TURING in targets else ("bf16",)


def build(task: Task, emit: Emit) -> Outcome:
    """Compiles for the job's compute capabilities."""
    trt = import_or_explain("tensorrt_rtx", purpose=_PURPOSE, remedy=_REMEDY)
    targets = task.job.compute_capabilities

    def configure(builder: Any, config: Any) -> None:
        del builder
        config.num_compute_capabilities = len(targets)  # unset, it would compile for a GPU of this machine
        for index, target in enumerate(targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)

    return tensorrt_common.build(
        task, emit, trt, library="tensorrt-rtx", float32_products=TURING not in targets, configure=configure
    )


def _require_package() -> None:
    import importlib.util

    for module in ("tensorrt_rtx", "onnx"):
        if importlib.util.find_spec(module) is None:
            raise MissingPackageError(_PURPOSE, module, _REMEDY)
