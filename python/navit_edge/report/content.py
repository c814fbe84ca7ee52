"""What a report holds. The page is a function of it, and it is the JSON that programs read (docs/report.md)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from navit_edge.bench.suite import BenchReport
from navit_edge.bundle.manifest import Budget, Cost, TensorSpec
from navit_edge.evaluate.report import Report as Evaluation
from navit_edge.page.content import Card
from navit_edge.profile.schema import Profile
from navit_edge.quantize.report import LayerCost, OutputAccuracy
from navit_edge.verify.certificate import Certificate

#: Of the JSON: raised if a key is renamed or goes away, not if one is added.
SCHEMA_VERSION = 1
#: Images of a report with their pictures: some 30 kB each.
MOST_EXAMPLES = 24


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the bundle computes. made_by: packages, and where the weights are from; sources: where preprocessing is."""

    family: str
    width: int
    depth: int
    heads: int
    prefix_tokens: int
    parameters: int
    patch_px: int
    channels: int
    sizing: str  # rule and limits, in words
    filter: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    processor: str
    orientation: str
    icc: str
    decode: str
    alpha: str
    outputs: tuple[TensorSpec, ...]
    labels: int
    first_labels: tuple[str, ...]
    scores: str
    texts: bool  # whether there is a text tower
    license: str  # "" if the bundle records none
    made_by: dict[str, str]
    sources: dict[str, str]


class HostBytes(msgspec.Struct, frozen=True, kw_only=True):
    """What a session sets aside beside the engine, with one slot and with two (docs/memory.md).

    engine: what the engine itself takes with one slot, predicted; None of one for a GPU. process: all of a process of
    one session with one slot, predicted.
    """

    threads: int
    slot: int
    one_slot: int
    two_slots: int
    engine: int | None
    process: int | None


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """Of the build report. fused: whether attention is one kernel; None if it is not known."""

    seconds: float
    peak_memory_bytes: int
    cpu: str
    lowering_reason: str
    fused: bool | None
    notes: tuple[str, ...]


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An engine of the bundle. standing: the certificate is of the file that is there now."""

    id: str
    backend: str
    target: str
    precision: str
    graph: str
    bytes: int
    sha256: str  # of its file
    dynamic_tokens: bool
    budgets: tuple[Budget, ...]
    builder: dict[str, str]
    cost: Cost | None
    build: Build | None
    memory: HostBytes
    standing: bool


class Quantized(msgspec.Struct, frozen=True, kw_only=True):
    """Of the report of quantize, without the names of its images and all layers."""

    precision: str
    method: str
    calibration_images: int
    held_out_images: int
    layers: int
    kept_in_float: tuple[str, ...]
    smoothed: int
    accuracy: dict[str, tuple[OutputAccuracy, ...]]  # "calibration", "held out"
    worst_layers: tuple[LayerCost, ...]
    notes: tuple[str, ...]


class PlannedPack(msgspec.Struct, frozen=True, kw_only=True):
    """images: tokens of each, in the order in which they lie. capacity: tokens that the engine computes."""

    images: tuple[int, ...]
    capacity: int
    predicted_ms: float | None  # None: the cost model was not measured


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """How a set of images would share packs: planned, nothing has run."""

    engine: str
    source: str
    strategy: str
    images: int
    tokens: int
    capacity: int
    packs: tuple[PlannedPack, ...]


class Examples(msgspec.Struct, frozen=True, kw_only=True):
    """Images that ran for this report, with their pictures."""

    engine: str
    device: str
    cards: tuple[Card, ...]
    left_out: int


#: In which language a way to run it is written.
Language: TypeAlias = Literal["shell", "python", "cpp"]


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """How to run it."""

    title: str
    language: Language
    text: str


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """What the report lacks, and the command that makes it."""

    what: str
    command: str


class BundleReport(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle. bench: one entry an engine."""

    name: str
    bytes: int
    model: ModelFacts
    engines: tuple[EngineFacts, ...]
    certificate: Certificate | None
    quantized: tuple[Quantized, ...]
    bench: tuple[BenchReport, ...]
    evaluation: Evaluation | None
    tuned: Profile | None
    planned: Planned | None
    examples: Examples | None
    use: tuple[Use, ...]
    missing: tuple[Missing, ...]
    notes: tuple[str, ...]


#: "lower", "higher": the second bundle's value, beyond what chance or disturbance explain. "exact": numbers that are
#: what they are. "not shown": the intervals leave both open. "no interval": nothing says how far it scatters.
Verdict: TypeAlias = Literal["lower", "higher", "exact", "not shown", "no interval"]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of both bundles. low, high: of the difference, or of what was measured; None if there is none.

    better: of the two, 0 or 1, only if the intervals say so; None else, and for figures where less is not better.
    """

    group: str  # "size", "certificate", "speed", "accuracy"
    what: str
    unit: str
    first: float
    second: float
    low: float | None = None
    high: float | None = None
    verdict: Verdict
    better: int | None = None
    why: str = ""

    @property
    def value(self) -> float:
        """The second minus the first."""
        return self.second - self.first


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """notes: what could not be compared, and why."""

    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


class ReportFile(msgspec.Struct, frozen=True, kw_only=True):
    """A report of one bundle or two. version: of navit-edge that made it."""

    schema_version: int
    version: str
    unix_time: float
    bundles: tuple[BundleReport, ...]
    comparison: Comparison | None = None
