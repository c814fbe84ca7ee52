"""OpenVINO engines for the CPU, compiled from the `padded` graph (or the `masked` one) with dynamic T, N and L.

The exported blob holds the optimized graph with float32 weights; precision and streams are decided when it is imported
(INFERENCE_PRECISION_HINT, NUM_STREAMS). So one file serves the bf16 and the fp32 engine.

An int8 engine is a file of its own, compiled from the quantized graph: its linear layers hold and multiply int8; what
is between them computes in the CPU's best float precision, which the engine names.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navit_edge.bundle.manifest import TEXT_GRAPH, Budget, Graph, Manifest, TextTower
from navit_edge.bundle.merging import Merging, merge_inputs
from navit_edge.compile.common import cap_note, find_graph, package_version, quantization_of
from navit_edge.compile.job import Emit, EnginePlan, Event, Job, Outcome, Preview, Profile, Task
from navit_edge.compile.request import BuildRequest
from navit_edge.errors import BackendError, InvalidInputError, import_or_explain
from navit_edge.machine.host import Host, native_precisions
from navit_edge.vocabulary import QUANTIZED

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Packs are filled up to here; a longer image travels alone. Longer packs gain nothing on a CPU and cost cache.
TARGET_TOKENS = 768
#: Limits if the caller gives none. They bound memory, not speed: T and N are the pack's own.
DEFAULT_MAX_TOKENS = 16384
DEFAULT_MAX_IMAGES = 1024

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_PURPOSE = "building an OpenVINO engine"
_REMEDY = 'pip install "navit-edge[openvino]"'


def plan(manifest: Manifest, request: BuildRequest) -> list[Job]:
    """One file for the float precisions, one for int8; an engine for each precision."""
    available = cpu_precisions()
    for precision in request.precision:
        if precision not in (*available, *QUANTIZED):
            raise InvalidInputError(
                f"precision {precision} for openvino on this CPU; it can do {', '.join(available)}; "
                "leave out --precision for all of them"
            )
    by_graph: dict[str, list[str]] = {}
    for precision in request.precision or available:
        by_graph.setdefault(quantization_of(precision), []).append(precision)
    tokens = max(request.token_budgets, default=DEFAULT_MAX_TOKENS)
    images = max(request.max_images, default=min(DEFAULT_MAX_IMAGES, tokens))
    budget = Budget(tokens=tokens, images=images, target_tokens=min(TARGET_TOKENS, tokens))
    lowering = lowering_of(request)
    stem = "openvino-cpu" if lowering == "padded" else f"openvino-cpu-{lowering}"
    jobs = [
        Job(
            backend="openvino",
            name=stem if quantization == "none" else f"{stem}-{quantization}",
            extension="blob",
            graph=find_graph(manifest, lowering, quantization),
            model=manifest.model,
            engines=tuple(
                EnginePlan(
                    id=f"{stem}-{precision}",
                    target="cpu",
                    precision=precision,
                    float_precision=available[0] if precision in QUANTIZED else "",
                    options={"INFERENCE_PRECISION_HINT": _HINTS[available[0] if precision in QUANTIZED else precision]},
                )
                for precision in precisions
            ),
            strategy="similar-length",
            dynamic_tokens=True,
            budgets=(budget,),
            versions={"openvino": package_version("openvino")},
            lowering_reason="auto: on a CPU attention per image costs less than a mask over the whole pack"
            if request.lowering == "auto"
            else "asked for",
            notes=(
                *(cap_note(manifest, (budget,)) if index == 0 else ()),
                *((_ROUNDED,) if quantization == "int8" and not _has_int8_products() else ()),
            ),
        )
        for index, (quantization, precisions) in enumerate(by_graph.items())
    ]
    if isinstance(manifest.text, TextTower):
        jobs.append(_text_job(manifest, manifest.text))
    return jobs


#: Of int8 where the processor has no instruction for it.
_ROUNDED = (
    "this CPU has no int8 products (VNNI, AMX or dot products): the layers of int8 are computed in float32 on the "
    "numbers that int8 holds. The results are those of int8, the speed is less than that of fp32"
)


def lowering_of(request: BuildRequest) -> str:
    return "padded" if request.lowering == "auto" else request.lowering


def _text_job(manifest: Manifest, tower: TextTower) -> Job:
    """The text tower's engine, for programs in C++: in float32, as a text is embedded once."""
    return Job(
        backend="openvino",
        name="openvino-cpu-text",
        extension="blob",
        graph=Graph(
            id=TEXT_GRAPH,
            lowering="padded",
            file=tower.file,
            opset=tower.opset,
            inputs=tower.inputs,
            outputs=tower.outputs,
        ),
        model=manifest.model,
        engines=(
            EnginePlan(
                id="openvino-cpu-text",
                target="cpu",
                precision="fp32",
                options={"INFERENCE_PRECISION_HINT": _HINTS["fp32"]},
            ),
        ),
        strategy="auto",
        dynamic_tokens=True,
        budgets=(),
        versions={"openvino": package_version("openvino")},
        lowering_reason="texts are padded to one length",
    )


def cpu_precisions() -> tuple[str, ...]:
    """What this CPU computes natively, best first: ("bf16", "fp32") or ("fp32",)."""
    openvino = import_or_explain("openvino", purpose=_PURPOSE, remedy=_REMEDY)
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("bf16", "fp32") if "BF16" in capabilities else ("fp32",)


def build(task: Task, emit: Emit) -> Outcome:
    """Compiles, exports, and proves by a small pack that the file imports and runs at every precision."""
    openvino = import_or_explain("openvino", purpose=_PURPOSE, remedy=_REMEDY)
    core = openvino.Core()
    seconds: dict[str, float] = {}

    emit(Event(phase="reading the graph"))
    started = time.perf_counter()
    try:
        model = core.read_model(task.graph_path)
        seconds["read"] = time.perf_counter() - started

        emit(Event(phase="compiling"))
        started = time.perf_counter()
        rounds = task.job.graph.quantization == "int8" and not _has_int8_products()
        # Without them OpenVINO's kernels add pairs of products in 16 bits, which overflow: other numbers.
        config = {"INFERENCE_PRECISION_HINT": "f32"} | ({"LP_TRANSFORMS_MODE": "NO"} if rounds else {})
        compiled = core.compile_model(model, "CPU", config)
        seconds["compile"] = time.perf_counter() - started

        emit(Event(phase="exporting"))
        blob: bytes = compiled.export_model().getvalue()
    except RuntimeError as error:
        raise BackendError(f"OpenVINO cannot compile {task.job.graph.file}: {error}") from error
    Path(task.output_path).write_bytes(blob)

    details: dict[str, Any] = {}
    if task.job.graph.quantization == "int8":
        details["linear_layers"] = _layers_by_precision(compiled)
        if not rounds and not details["linear_layers"].get("i8"):
            raise BackendError(
                f"OpenVINO computes none of the quantized layers of {task.job.graph.file} in int8 on this CPU "
                f"({details['linear_layers']}); build --precision bf16 or fp32, which are more exact and no slower then"
            )

    inputs = probe_inputs(task.job)
    for engine in task.job.engines:
        emit(Event(phase=f"checking {engine.precision}"))
        started = time.perf_counter()
        try:
            imported = core.import_model(blob, "CPU", dict(engine.options))
            seconds[f"import {engine.precision}"] = time.perf_counter() - started
            outputs = imported(inputs)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot run the engine {engine.id} that it built: {error}") from error
        _require_finite(engine.id, {port.any_name: outputs[port] for port in imported.outputs})

    emit(Event(phase="done", fraction=1.0))
    return Outcome(
        budgets=task.job.budgets,
        builder={"openvino": openvino.get_version()},
        profiles=_profiles(task.job),
        details={**details, "seconds": {name: round(value, 3) for name, value in seconds.items()}},
    )


def _has_int8_products() -> bool:
    return "int8" in native_precisions(Host.read().flags)


def _layers_by_precision(compiled: Any) -> dict[str, int]:
    """Precision that OpenVINO says it computes in -> matrix products with constant weights ("FullyConnected")."""
    found: dict[str, int] = {}
    for node in compiled.get_runtime_model().get_ops():
        about = node.get_rt_info()
        if about["layerType"].value == "FullyConnected":
            precision = str(about["runtimePrecision"].value)
            found[precision] = found.get(precision, 0) + 1
    return dict(sorted(found.items()))


def preview(job: Job, graph: bytes) -> Preview:
    """What ``build`` would do. Precision is decided when an engine is imported, not by build-engine."""
    del graph
    return Preview(profiles=_profiles(job))


def _profiles(job: Job) -> tuple[dict[str, Profile], ...]:
    """The bounds of the one dynamic budget; a text graph has none."""
    return tuple(
        {
            spec.name: Profile(
                min=tuple(1 if isinstance(e, str) else e for e in spec.shape),
                opt=tuple(_extent(e, budget, target=True) for e in spec.shape),
                max=tuple(_extent(e, budget, target=False) for e in spec.shape),
            )
            for spec in job.graph.inputs
        }
        for budget in job.budgets
    )


def _extent(extent: int | str, budget: Budget, *, target: bool) -> int:
    """T and L are bounded by the tokens of a pack, N by its images."""
    tokens = budget.target_tokens if target else budget.tokens
    return budget.extent(extent, tokens)


def probe_inputs(job: Job) -> dict[str, npt.NDArray[np.generic]]:
    """Inputs of a pack of one image of 2 x 3 patches (or blocks of patches that are merged), mid-grey."""
    import numpy as np

    side = math.lcm(job.model.token_merge, job.graph.block_side)
    rows, columns = 2 * side, 3 * side
    prefix = job.model.prefix_tokens
    t = prefix + rows * columns
    prefix_positions = [(-1 - k, -1 - k) for k in range(prefix)]
    positions = prefix_positions + [(r, c) for r in range(rows) for c in range(columns)]
    features = next((spec.shape[-1] for spec in job.graph.inputs if spec.name == "patches"), 1)
    values: dict[str, npt.NDArray[np.generic]] = {
        "patches": np.full((t, int(features)), 128, np.uint8),
        "positions": np.array(positions, np.int32),
        "segment_ids": np.zeros(t, np.int32),
        "grid_hw": np.array([[rows, columns]], np.int32),
        "attention_index": np.arange(t, dtype=np.int32)[None],
        "token_index": np.arange(t, dtype=np.int32),
        "cu_seqlens": np.array([0, t], np.int32),
    }
    if isinstance(job.model.merging, Merging):
        values |= merge_inputs(job.model.merging, [t], prefix_tokens=prefix, tokens=t, longest=t)
    values["patches"][:prefix] = 0
    for spec in job.graph.inputs:  # of texts: one, whose ids are all 1
        if spec.name in ("input_ids", "attention_mask"):
            values[spec.name] = np.ones((1, int(spec.shape[1])), np.int32)
    missing = [spec.name for spec in job.graph.inputs if spec.name not in values]
    if missing:
        raise BackendError(f"graph {job.graph.id!r} has the inputs {', '.join(missing)}; known: {', '.join(values)}")
    return {spec.name: values[spec.name] for spec in job.graph.inputs}


def _require_finite(engine: str, outputs: dict[str, Any]) -> None:
    import numpy as np

    for name, value in outputs.items():
        if not np.isfinite(value).all():
            raise BackendError(
                f"engine {engine} gives {name} that is not finite on a grey image; expected finite numbers; "
                "try --precision fp32, and compare the exported graph with the checkpoint"
            )
