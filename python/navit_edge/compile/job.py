"""What the parent hands to a build's own process, and what comes back. Plain data: it travels as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from navit_edge.bundle.manifest import Budget, EngineGroup, Graph, Model
from navit_edge.compile.compiler_options import CompilerOptions
from navit_edge.compile.fusion import Fusion
from navit_edge.vocabulary import Strategy


class EnginePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the manifest that a job will make."""

    id: str
    target: str
    precision: str
    options: dict[str, str] = {}
    group: EngineGroup | None = None  # of the engines that jobs of the same request build for other budgets
    float_precision: str = ""  # of what computes beside quantized layers


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One file to build, in one process. Several engines may share it (OpenVINO decides the precision at import)."""

    backend: str
    name: str  # of the file, without extension: "tensorrt-rtx-sm86+sm89-bf16"
    extension: str
    graph: Graph
    model: Model
    engines: tuple[EnginePlan, ...]
    strategy: Strategy
    dynamic_tokens: bool
    budgets: tuple[Budget, ...]
    compute_capabilities: tuple[str, ...] = ()
    versions: dict[str, str] = {}  # of the packages that take part, part of the build's key
    compiler: CompilerOptions = CompilerOptions()
    strict: bool = False  # fp32 without 16-bit attention
    fp32_trunk: bool = False  # only attention in the 16-bit precision
    lowering_reason: str = ""  # why this graph; for the reader
    notes: tuple[str, ...] = ()  # what the user should know before the build

    def decisive(self, engine: EnginePlan) -> Job:
        """What decides the bytes of one engine: without what is for the reader and the company it keeps."""
        alone = msgspec.structs.replace(engine, group=None)
        return msgspec.structs.replace(self, engines=(alone,), lowering_reason="", notes=())

    def settings(self) -> dict[str, str]:
        """The options that were given, by their names on the command line."""
        flags = {"--strict": self.strict, "--fp32-trunk": self.fp32_trunk}
        return {**{name: "true" for name, given in flags.items() if given}, **self.compiler.given()}


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes of one input of one optimization profile."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a build says about itself."""

    budgets: tuple[Budget, ...]  # with activation_bytes if the builder says
    builder: dict[str, str]  # library -> full version
    profiles: tuple[dict[str, Profile], ...] = ()  # one a budget: input -> shapes
    fusion: Fusion | None = None  # if the backend has the notion
    details: dict[str, Any] = {}  # for the report
    peak_memory_bytes: int = 0  # of the process, on the host; the worker fills it in


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A job and where its files lie on this machine; paths may start where the worker runs."""

    job: Job
    graph_path: str
    output_path: str
    require_fused: bool = False
    known_fusion: Fusion | None = None  # of another build of the same graph, precision and target
    timing_cache_path: str | None = None  # read where it is there, written when the build is done


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a build would do, without building."""

    profiles: tuple[dict[str, Profile], ...]
    precisions: dict[str, str] = {}  # node of the graph -> "fp32", "fp16", "bf16"; if build-engine decides it
    operators: dict[str, dict[str, int]] = {}  # the same counted: operator -> precision -> nodes


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line from a build's process. ``fraction`` is None if the length of the phase is not known."""

    engine: str = ""
    phase: str = ""
    fraction: float | None = None
    note: str = ""  # a sentence for the user
    outcome: Outcome | None = None
    error: str = ""
    error_type: str = ""
    traceback: str = ""


Emit = Callable[[Event], None]
