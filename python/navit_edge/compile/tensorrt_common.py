"""What TensorRT and TensorRT-RTX share: budgets, profiles, the build itself. The vendor's module is an argument.

One optimization profile per budget, with min = opt = max: T is the budget's tokens and N its images, since packs are
padded to their budget. Fixed shapes are what the compiler plans best: with ranges (1, or one more than the budget
below, up to the budget) TensorRT-RTX 1.7.1 wants half as much activation memory again at 8192 tokens, and the growth
is no longer linear.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from navit_edge.bundle.manifest import Budget, EngineGroup, Manifest, TensorSpec
from navit_edge.compile import compiler_options, fusion, inspector
from navit_edge.compile import precision as precisions
from navit_edge.compile.common import cap_note
from navit_edge.compile.fusion import Fusion
from navit_edge.compile.job import Emit, EnginePlan, Event, Job, Outcome, Preview, Profile, Task
from navit_edge.compile.lowering import Choice, is_refusal
from navit_edge.compile.request import BuildRequest
from navit_edge.compile.targets import float_precision
from navit_edge.compile.tensorrt_callbacks import activation_bytes, make_logger, make_monitor
from navit_edge.errors import BackendError, CancelledError
from navit_edge.files import write_whole
from navit_edge.vocabulary import QUANTIZED

DEFAULT_BUDGETS = (256, 1024, 4096)
#: Images of a budget if the caller says nothing: one for each 32 tokens, and no more than pooling makes cheap, since
#: the memory of attention pooling grows with tokens times images.
TOKENS_PER_IMAGE = 32
DEFAULT_MAX_IMAGES = 256
#: The library says so and goes on with an empty cache.
_CACHE_REFUSAL = "Failed to deserialize timing cache"


@dataclass(frozen=True, kw_only=True)
class Library:
    """What differs between the two libraries."""

    trt: Any  # the module
    name: str  # in the manifest's `builder`
    float32_products: bool = True  # see ``precision.Conversion``
    configure: Callable[[Any], None] = lambda config: None  # for what only this library has
    probe_always: bool = False  # a build takes seconds and no device: prove fusion by one of its own if need be
    opens_engines: bool = False  # it builds on a device, which can be asked what became of the layers


def trunk_precision(job: Job) -> str:
    """What computes in the trunk, beside the quantized layers if there are any: "fp32", "fp16" or "bf16"."""
    return job.engines[0].float_precision or job.engines[0].precision


def make_budgets(request: BuildRequest) -> tuple[Budget, ...]:
    """Ascending budgets; a budget holds no more images than tokens."""
    tokens = request.token_budgets or DEFAULT_BUDGETS
    images = request.max_images or tuple(min(max(1, t // TOKENS_PER_IMAGE), DEFAULT_MAX_IMAGES) for t in tokens)
    if len(images) == 1:
        images = images * len(tokens)
    return tuple(
        Budget(tokens=t, images=min(n, t), target_tokens=t) for t, n in sorted(zip(tokens, images, strict=True))
    )


def make_jobs(
    manifest: Manifest,
    request: BuildRequest,
    lowering: Choice,
    *,
    target: str,
    precision: str,
    capabilities: Sequence[str],
    versions: dict[str, str],
    per_budget: bool,
) -> list[Job]:
    """One job, or one for each budget, the largest first, whose engines form a group."""
    budgets = make_budgets(request)
    suffix = "-strict" if request.strict else "-fp32-trunk" if request.fp32_trunk else ""
    suffix += "-packed" if lowering.graph.lowering == "packed" else ""  # beside a masked one, to be compared with it
    stem = f"{request.backend}-{target}-{precision}{suffix}"
    sets = [(f"{stem}-t{b.tokens}", (b,)) for b in reversed(budgets)] if per_budget else [(stem, budgets)]
    group = _group(stem, budgets) if len(sets) > 1 else None
    return [
        Job(
            backend=request.backend,
            name=name,
            extension="plan",
            graph=lowering.graph,
            model=manifest.model,
            engines=(
                EnginePlan(
                    id=name,
                    target=target,
                    precision=precision,
                    float_precision=float_precision(precision, tuple(capabilities)) if precision in QUANTIZED else "",
                    options={"version_compatible": "true"} if request.compiler.version_compatible else {},
                    group=group,
                ),
            ),
            strategy="first-fit-decreasing",
            dynamic_tokens=False,
            budgets=held,
            compute_capabilities=tuple(capabilities),
            versions=versions,
            compiler=request.compiler,
            strict=request.strict,
            fp32_trunk=request.fp32_trunk,
            lowering_reason=lowering.reason,
            notes=_notes(manifest, request, budgets, group),
        )
        for name, held in sets
    ]


def notes_once(jobs: Sequence[Job], *first: str) -> list[Job]:
    """The jobs of a request have the same notes; the first keeps them."""
    return [
        msgspec.structs.replace(job, notes=(*first, *job.notes) if index == 0 else ()) for index, job in enumerate(jobs)
    ]


def _group(stem: str, budgets: Sequence[Budget]) -> EngineGroup:
    """The budgets are in its name, so that a later build with others makes another group."""
    return EngineGroup(
        id=f"{stem}-{'+'.join(f't{budget.tokens}' for budget in budgets)}",
        members=tuple(f"{stem}-t{budget.tokens}" for budget in budgets),
    )


def _notes(
    manifest: Manifest, request: BuildRequest, budgets: tuple[Budget, ...], group: EngineGroup | None
) -> tuple[str, ...]:
    notes = list(cap_note(manifest, budgets))
    if group is not None:
        notes.append(
            f"one engine for each of {len(budgets)} budgets: a session opens them together, with the weights of each "
            f"on the device, and gives every pack to the engine of its budget; run --engine {group.id}, or one of them "
            "alone"
        )
    if request.strict:
        notes.append(
            "--strict: attention in float32 is not fused, so its memory grows with the square of the token budget"
        )
    if request.compiler.strip_plan:
        notes.append(
            "--strip-plan: the engine holds no weights; it must be refitted before it runs, which run does not"
        )
    return tuple(notes)


def build_profiles(job: Job, budgets: Sequence[Budget] | None = None) -> tuple[dict[str, Profile], ...]:
    """One a budget: the shapes of each input."""

    def shape(spec: TensorSpec, budget: Budget) -> tuple[int, ...]:
        letters = budget.extents(budget.tokens)
        known = [extent for extent in spec.shape if isinstance(extent, int) or extent in letters or "*" in extent]
        if len(known) < len(spec.shape) or any(str(extent).startswith("L") for extent in spec.shape):
            raise BackendError(f"input {spec.name!r} has extents {list(spec.shape)}; expected T, N, N+1 and numbers")
        return tuple(budget.extent(extent, budget.tokens) for extent in spec.shape)

    return tuple(
        {spec.name: Profile(min=s, opt=s, max=s) for spec in job.graph.inputs for s in (shape(spec, budget),)}
        for budget in (job.budgets if budgets is None else budgets)
    )


def preview(job: Job, graph: bytes, *, float32_products: bool) -> Preview:
    """Profiles and the precision of each node, for --dry-run."""
    nodes = precisions.Conversion(
        precisions.load(graph, job.graph.file),
        trunk_precision(job),
        float32_products=float32_products,
        strict=job.strict,
        fp32_trunk=job.fp32_trunk,
    ).precision_map()
    operators: dict[str, Counter[str]] = {}
    for operator, precision in nodes.values():
        operators.setdefault(operator, Counter())[precision] += 1
    return Preview(
        profiles=build_profiles(job),
        precisions={name: precision for name, (_, precision) in nodes.items()},
        operators={operator: dict(counts) for operator, counts in sorted(operators.items())},
    )


def build(task: Task, emit: Emit, library: Library) -> Outcome:
    """Builds a strongly typed engine, writes it, and says whether attention was fused.

    Raises BackendError: The parser or the compiler refuses; the message quotes it. Or fusion is required and not
        proven.
    Raises CancelledError: Nobody listens to ``emit`` any more.
    """
    job = task.job
    emit(Event(phase="reading the graph"))
    compilation = _Compilation(task, emit, library)
    plan, budgets, warnings = compilation.run(job.budgets, timing_cache=task.timing_cache_path)
    emit(Event(phase="writing", fraction=1.0))
    Path(task.output_path).write_bytes(memoryview(plan))
    layers = inspector.describe(library.trt, plan, make_logger(library.trt)) if library.opens_engines else {}
    del plan

    found = inspector.add_evidence(_prove_fusion(task, budgets, compilation, library), layers, task.job.model.depth)
    if task.require_fused and not found.fused:
        verdict = "is not fused" if found.fused is False else "is not proven to be fused"
        raise BackendError(
            f"attention of {job.name} {verdict}, and --require-fused was given: {found.evidence}; another --precision "
            "may help (fp16 and bf16 fuse; float32 does not)"
        )
    if found.fused is False and not job.strict:
        emit(Event(note=f"attention is not fused: {found.evidence}; another --precision may help"))
    return Outcome(
        budgets=budgets,
        builder={library.name: str(library.trt.__version__)},
        profiles=build_profiles(job),
        fusion=found,
        details={
            "compute_capabilities": list(job.compute_capabilities),
            "strongly_typed": True,
            "warnings": warnings,
            **layers,
        },
    )


def _prove_fusion(task: Task, budgets: Sequence[Budget], compilation: _Compilation, library: Library) -> Fusion:
    """By the engine's own budgets; by a build of its own if that is required, or cheap and undecided."""
    found = fusion.from_budgets(budgets, task.job.model.heads)
    known = task.known_fusion
    if known is not None and (known.method == "probe" or not task.require_fused) and found.fused is None:
        return known
    if task.require_fused or (library.probe_always and found.fused is None):
        try:
            _, points, _ = compilation.run(fusion.probe_budgets(budgets), phase="proving fusion")
        except BackendError as error:
            return msgspec.structs.replace(found, evidence=f"{found.evidence}; the build to prove it failed: {error}")
        return fusion.from_probe(points)
    return found


class _Compilation:
    """The converted graph of a task, to be compiled for one set of budgets or another."""

    def __init__(self, task: Task, emit: Emit, library: Library) -> None:
        job, self._path = task.job, Path(task.graph_path)
        self._job, self._emit, self._library = job, emit, library
        model = precisions.Conversion(
            precisions.load(self._path.read_bytes(), job.graph.file),
            trunk_precision(job),
            float32_products=library.float32_products,
            strict=job.strict,
            fp32_trunk=job.fp32_trunk,
        ).convert()
        self._graph: bytes = model.SerializeToString()

    def run(
        self, budgets: Sequence[Budget], *, phase: str = "compiling", timing_cache: str | None = None
    ) -> tuple[Any, tuple[Budget, ...], list[str]]:
        """The plan, the budgets with their activation memory, and the library's warnings."""
        trt, name, job = self._library.trt, self._library.name, self._job
        log = make_logger(trt)
        builder = trt.Builder(log)
        if not builder:
            raise BackendError(f"{name} gives no builder: {log.last_error()}")
        typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # else there is no other way
        network = builder.create_network(0 if typed is None else 1 << int(typed))
        parser = trt.OnnxParser(network, log)
        self._emit(Event(phase="parsing"))
        if not parser.parse(self._graph, str(self._path)):
            found = "; ".join(_parse_error(parser.get_error(i)) for i in range(parser.num_errors))
            raise BackendError(f"{name} {trt.__version__} cannot parse {job.graph.file}: {found or log.last_error()}")

        config = builder.create_builder_config()
        if hasattr(trt.BuilderFlag, "TF32"):
            config.clear_flag(trt.BuilderFlag.TF32)  # float32 islands are float32
        compiler_options.apply(trt, config, job.compiler, library=name)
        self._library.configure(config)
        if timing_cache is not None:
            _load_timing_cache(trt, config, Path(timing_cache), log)
        for shapes in build_profiles(job, budgets):
            profile = builder.create_optimization_profile()
            for input_name, s in shapes.items():
                profile.set_shape(input_name, s.min, s.opt, s.max)
            if config.add_optimization_profile(profile) < 0:
                raise BackendError(f"{name} refuses the profile {shapes}: {log.last_error()}")
        monitor = make_monitor(trt, self._emit, phase)
        config.progress_monitor = monitor

        self._emit(Event(phase=phase, fraction=0.0))
        plan = builder.build_serialized_network(network, config)
        if monitor.cancelled:
            raise CancelledError(f"building {job.name} was cancelled")
        if plan is None:
            error = log.last_error()
            hint = compiler_options.explain_refusal(error, job.compiler, library=name)
            if job.graph.lowering == "packed" and is_refusal(error):
                hint += "; build with --lowering masked"
            raise BackendError(f"{name} {trt.__version__} cannot build {job.name}: {error}{hint}")
        if timing_cache is not None:
            _save_timing_cache(config, Path(timing_cache))
        return plan, _with_activation(budgets, log.lines), log.warnings()


def _parse_error(error: Any) -> str:
    """The operator, the node and what the parser says, such as "Det (node_17): false in checkDet"."""
    return f"{error.node_operator()} ({error.node_name()}): {error.desc()} in {error.func()}"


def _with_activation(budgets: Sequence[Budget], lines: Sequence[str]) -> tuple[Budget, ...]:
    """Fills in what the builder's log says of each profile, in order."""
    found = activation_bytes(lines)
    if len(found) != len(budgets):
        return tuple(budgets)
    return tuple(
        msgspec.structs.replace(budget, activation_bytes=size) for budget, size in zip(budgets, found, strict=True)
    )


def _load_timing_cache(trt: Any, config: Any, path: Path, log: Any) -> None:
    """Raises BackendError where the file is no timing cache for here: it would be overwritten with another content."""
    if not hasattr(config, "create_timing_cache"):
        raise BackendError(f"TensorRT {trt.__version__} has no timing cache; leave out --timing-cache")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise BackendError(f"timing cache {path} cannot be read: {error.strerror}; name another file") from error
    cache = config.create_timing_cache(content)
    refused = content and any(_CACHE_REFUSAL in warning for warning in log.warnings())
    if cache is None or refused or not config.set_timing_cache(cache, False):
        raise BackendError(
            f"{path} is no timing cache of this version and this GPU; remove it, or name another file for "
            "--timing-cache"
        )


def _save_timing_cache(config: Any, path: Path) -> None:
    """Whole or not at all, since the next build reads it."""
    try:
        write_whole(path, memoryview(config.get_timing_cache().serialize()), beside=f".{path.name}.{os.getpid()}.tmp")
    except OSError as error:
        raise BackendError(f"timing cache {path} cannot be written: {error.strerror}; name another file") from error
