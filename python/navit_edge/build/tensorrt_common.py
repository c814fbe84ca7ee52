"""What TensorRT and TensorRT-RTX share: budgets, profiles, the build itself. The vendor's module is an argument.

One optimization profile per budget, with min = opt = max: T is the budget's tokens and N its images, since packs are
padded to their budget. Fixed shapes are what the compiler plans best: with ranges (1, or one more than the budget
below, up to the budget) TensorRT-RTX 1.7.1 wants half as much activation memory again at 8192 tokens, and the growth
is no longer linear.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from navit_edge.build import precision as precisions
from navit_edge.build.job import Emit, Event, Job, Outcome, Profile, Task
from navit_edge.build.request import BuildRequest
from navit_edge.errors import BackendError, CancelledError
from navit_edge.manifest import Budget, TensorSpec

DEFAULT_BUDGETS = (256, 1024, 4096)
#: Images of a budget where the caller says nothing: one for each 32 tokens, and no more than pooling makes cheap, since
#: the memory of attention pooling grows with tokens times images.
TOKENS_PER_IMAGE = 32
DEFAULT_MAX_IMAGES = 256
#: Growth of activation memory over growth of tokens, between budgets, above which attention cannot be fused.
_FUSED_GROWTH = 1.3

_ACTIVATION = re.compile(r"Total Activation Memory: (\d+) bytes")


def make_budgets(request: BuildRequest) -> tuple[Budget, ...]:
    """Ascending budgets; a budget holds no more images than tokens."""
    tokens = request.token_budgets or DEFAULT_BUDGETS
    images = request.max_images or tuple(min(max(1, t // TOKENS_PER_IMAGE), DEFAULT_MAX_IMAGES) for t in tokens)
    if len(images) == 1:
        images = images * len(tokens)
    return tuple(
        Budget(tokens=t, images=min(n, t), target_tokens=t) for t, n in sorted(zip(tokens, images, strict=True))
    )


def build_profiles(job: Job) -> tuple[dict[str, Profile], ...]:
    """One a budget: the shapes of each input."""

    def shape(spec: TensorSpec, budget: Budget) -> tuple[int, ...]:
        letters = {"T": budget.tokens, "N": budget.images}
        unknown = [extent for extent in spec.shape if isinstance(extent, str) and extent not in letters]
        if unknown:
            raise BackendError(f"input {spec.name!r} has extents {list(spec.shape)}; expected T, N and numbers")
        return tuple(extent if isinstance(extent, int) else letters[extent] for extent in spec.shape)

    return tuple(
        {spec.name: Profile(min=s, opt=s, max=s) for spec in job.graph.inputs for s in (shape(spec, budget),)}
        for budget in job.budgets
    )


def build(
    task: Task,
    emit: Emit,
    trt: Any,
    *,
    library: str,
    float32_products: bool,
    configure: Callable[[Any, Any], None],
) -> Outcome:
    """Builds a strongly typed engine and writes it.

    Args:
        task: The job and its files.
        emit: Takes progress.
        trt: The module `tensorrt` or `tensorrt_rtx`.
        library: Its name in the manifest's `builder`.
        float32_products: See ``precision.convert``.
        configure: Called with the builder and its config, for what only this library has.

    Raises:
        BackendError: The parser or the compiler refuses; the message quotes it.
    """
    job = task.job
    engine = job.engines[0]
    emit(Event(phase="reading the graph"))
    graph_path = Path(task.graph_path)
    model = precisions.convert(precisions.load(graph_path), engine.precision, float32_products=float32_products)

    log = _make_logger(trt)
    builder = trt.Builder(log)
    if not builder:
        raise BackendError(f"{library} gives no builder: {log.last_error() or 'it does not say why'}")
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # else there is no other way
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, log)
    emit(Event(phase="parsing"))
    if not parser.parse(model.SerializeToString(), str(graph_path)):
        found = "; ".join(_parse_error(parser.get_error(i)) for i in range(parser.num_errors))
        raise BackendError(f"{library} {trt.__version__} cannot parse {job.graph.file}: {found or log.last_error()}")

    config = builder.create_builder_config()
    config.max_aux_streams = 0  # streams of their own cost memory each; the session runs packs side by side instead
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)  # float32 islands are float32
    configure(builder, config)
    profiles = build_profiles(job)
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, s in shapes.items():
            profile.set_shape(name, s.min, s.opt, s.max)
        if config.add_optimization_profile(profile) < 0:
            raise BackendError(f"{library} refuses the profile {shapes}: {log.last_error()}")
    monitor = _make_monitor(trt, emit)
    config.progress_monitor = monitor

    emit(Event(phase="compiling", fraction=0.0))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        if monitor.cancelled:
            raise CancelledError(f"building {job.name} was cancelled")
        raise BackendError(f"{library} {trt.__version__} cannot build {job.name}: {log.last_error()}")
    emit(Event(phase="writing", fraction=1.0))
    Path(task.output_path).write_bytes(memoryview(plan))

    budgets = _with_activation(job.budgets, log.lines)
    for note in _growth_notes(budgets):
        emit(Event(note=note))
    return Outcome(
        budgets=budgets,
        builder={library: str(trt.__version__)},
        profiles=profiles,
        details={
            "compute_capabilities": list(job.compute_capabilities),
            "strongly_typed": True,
            "warnings": log.warnings(),
        },
    )


def _parse_error(error: Any) -> str:
    """The operator, the node and what the parser says, such as "Det (node_17): false in checkDet"."""
    return f"{error.node_operator()} ({error.node_name()}): {error.desc()} in {error.func()}"


def _with_activation(budgets: Sequence[Budget], lines: Sequence[str]) -> tuple[Budget, ...]:
    """Fills in what the builder's log says of each profile, in order."""
    found = [int(match[1]) for line in lines if (match := _ACTIVATION.search(line))]
    if len(found) != len(budgets):
        return tuple(budgets)
    return tuple(
        msgspec.structs.replace(budget, activation_bytes=size) for budget, size in zip(budgets, found, strict=True)
    )


def _growth_notes(budgets: Sequence[Budget]) -> list[str]:
    """Says so where memory grows faster than the budget: then attention is not one fused kernel."""
    notes = []
    for small, large in pairwise(budgets):
        if small.activation_bytes and large.activation_bytes:
            growth = large.activation_bytes / small.activation_bytes
            if growth > _FUSED_GROWTH * large.tokens / small.tokens:
                notes.append(
                    f"activation memory grows {growth:.1f} times from {small.tokens} to {large.tokens} tokens; "
                    f"expected {large.tokens / small.tokens:.1f} with fused attention; fewer --max-images or another "
                    "--precision may help"
                )
    return notes


def _make_logger(trt: Any) -> Any:
    """Keeps every line; prints those of INFO and above to standard error, which is the build's log."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []
            self._errors: list[str] = []
            self._warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self._errors.append(message)
            elif severity == trt.ILogger.WARNING:
                self._warnings.append(message)
            if severity <= trt.ILogger.INFO:
                self.lines.append(message)
                print(message, file=sys.stderr)

        def last_error(self) -> str:
            return self._errors[-1] if self._errors else "it does not say why"

        def warnings(self) -> list[str]:
            return list(dict.fromkeys(self._warnings))

    return Logger()


def _make_monitor(trt: Any, emit: Emit) -> Any:
    """Reports the outermost phase; cancels where nobody listens any more."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.cancelled = False
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._steps[phase_name] = max(1, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._steps:
                try:
                    emit(Event(phase="compiling", fraction=min(1.0, (step + 1) / self._steps[phase_name])))
                except OSError:
                    self.cancelled = True
            return not self.cancelled

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
