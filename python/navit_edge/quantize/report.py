"""What quantize leaves behind in a bundle: ``reports/quantize-<precision>.json``."""

from __future__ import annotations

import msgspec

from navit_edge.bundle.manifest import File


class ImageFile(msgspec.Struct, frozen=True, kw_only=True):
    """An image by its name inside of the directory that was given."""

    name: str
    sha256: str


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was not used."""

    name: str
    why: str


class OutputAccuracy(msgspec.Struct, frozen=True, kw_only=True):
    """One output of the quantized graph against the float32 graph, over images."""

    output: str
    images: int
    cosine_min: float  # of an image's vector (tokens: of all its tokens together)
    cosine_mean: float
    max_error: float  # largest difference over the largest magnitude of the float32 output
    rms_error: float  # root mean square of the difference over that of the float32 output
    top1_agreement: float | None = None  # logits only: fraction of images with the same best class


class LayerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One linear layer."""

    layer: str
    quantized: bool
    largest: float  # magnitude of what it reads
    covered: float  # the largest magnitude that the scale holds
    clipped: float  # fraction of the values above that
    scale: float
    weight_scale_min: float  # over output channels
    weight_scale_max: float


class LayerCost(msgspec.Struct, frozen=True, kw_only=True):
    """Of the sensitivity scan: the error when only this layer is quantized."""

    layer: str
    error: float


class ScanStep(msgspec.Struct, frozen=True, kw_only=True):
    """Of the sensitivity scan: the error when this many of the worst layers stay in float."""

    skipped: int
    error: float


class SmoothedValue(msgspec.Struct, frozen=True, kw_only=True):
    """A value that layers read. Errors are of their output: root mean square over that of the output, on few tokens."""

    layers: tuple[str, ...]
    taken_over_by: str  # "norm", "values", "gate" or "factor" (docs/quantize.md); "": it is not smoothed
    strength: float | None
    shifted: bool
    error_before: float
    error_after: float


class QuantizeReport(msgspec.Struct, frozen=True, kw_only=True):
    precision: str
    key: str  # hash of all that decides the graphs: graphs, weights, images, options, versions
    graphs: tuple[str, ...]  # ids of the graphs that were made
    judged_on: str  # id of the float32 graph that ran, with and without Q/DQ
    method: str
    settings: dict[str, str]  # the options that decided
    seconds: float
    versions: dict[str, str]
    host: dict[str, str]
    built_from: dict[str, File]
    calibration: tuple[ImageFile, ...]
    calibration_tokens: int
    held_out: tuple[ImageFile, ...]
    left_out: tuple[LeftOut, ...]
    layers: tuple[LayerReport, ...]
    skipped: tuple[str, ...]  # layers left in float
    accuracy: dict[str, tuple[OutputAccuracy, ...]]  # "calibration", "held out" -> rows
    accuracy_of_all_layers: dict[str, tuple[OutputAccuracy, ...]] = {}  # if none had been skipped; only if some were
    smoothing: tuple[SmoothedValue, ...] = ()  # of every value, in graph order; () with --smooth off
    accuracy_unsmoothed: dict[str, tuple[OutputAccuracy, ...]] = {}  # of the same layers; if something is smoothed
    accuracy_smoothed: dict[str, tuple[OutputAccuracy, ...]] = {}  # if smoothing was tried and given up
    sensitivity: tuple[LayerCost, ...] = ()  # the worst first; with --skip-layers auto
    scan: tuple[ScanStep, ...] = ()
    notes: tuple[str, ...] = ()
