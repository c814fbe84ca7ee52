"""From activations over real packs to one scale a value: histograms of magnitudes, and what of them a scale covers.

Methods, of which ``docs/quantize.md`` compares the results:

* "minmax": the largest magnitude seen.
* "percentile": the magnitude that so many per cent of all values do not exceed.
* "mse": the one with the smallest mean square error of the quantized values.
* "entropy": the one with the smallest Kullback-Leibler divergence of the quantized distribution (S. Migacz, "8-bit
  inference with TensorRT", GTC 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from navit_edge.errors import BundleError
from navit_edge.oracle.graph import mark_outputs, run_graph
from navit_edge.oracle.packs import Array, Pack
from navit_edge.quantize.channels import Channels
from navit_edge.quantize.layers import Layer
from navit_edge.quantize.qdq import round_to, scale_of
from navit_edge.quantize.wiring import values_from

if TYPE_CHECKING:
    import onnx

_BINS = 4096
_CANDIDATES = 128  # thresholds that are tried
_LEVELS = 128  # magnitudes of int8, for entropy


class Histogram:
    """Magnitudes of one value, in bins of equal width from 0 to a power of two.

    The range doubles if a larger magnitude comes, by adding neighbours, so the order of the packs changes nothing.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS, np.int64)
        self.range = 0.0  # upper end of the last bin
        self.largest = 0.0

    def add(self, values: Array) -> None:
        """Counts ``values``, all of them finite."""
        if values.size == 0:
            return
        magnitudes = np.abs(values, dtype=np.float32).ravel()
        largest = float(magnitudes.max())
        self.largest = max(self.largest, largest)
        if largest == 0.0:
            self.counts[0] += magnitudes.size
            return
        needed = math.ldexp(1.0, math.frexp(largest)[1])  # the power of two above it
        if self.range == 0.0:
            self.range = needed  # what was counted so far were zeros
        while self.range < needed:
            halves = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([halves, np.zeros_like(halves)])
            self.range *= 2
        bins = (magnitudes * np.float32(_BINS / self.range)).astype(np.int32)
        self.counts += np.bincount(np.minimum(bins, _BINS - 1), minlength=_BINS)

    @property
    def centers(self) -> npt.NDArray[np.float64]:
        """Middle of each bin."""
        return np.asarray((np.arange(_BINS) + 0.5) * (self.range / _BINS), np.float64)


def threshold(histogram: Histogram, method: str, precision: str, percentile: float) -> float:
    """The largest magnitude that the scale is to cover; what is above is clipped to it."""
    if histogram.largest == 0.0 or method == "minmax":
        return histogram.largest
    if method == "percentile":
        return _percentile(histogram, percentile)
    if method == "mse":
        return _least_square_error(histogram, precision)
    return _least_divergence(histogram)


def clipped_fraction(histogram: Histogram, covered: float) -> float:
    """Fraction of the values above ``covered``, to a bin."""
    if covered >= histogram.largest:
        return 0.0
    total = int(histogram.counts.sum())
    return float(histogram.counts[histogram.centers > covered].sum() / total) if total else 0.0


def _percentile(histogram: Histogram, percentile: float) -> float:
    cumulated = np.cumsum(histogram.counts)
    index = int(np.searchsorted(cumulated, cumulated[-1] * (percentile / 100)))
    return min((index + 1) * histogram.range / _BINS, histogram.largest)


def _least_square_error(histogram: Histogram, precision: str) -> float:
    used = histogram.counts > 0
    values, weights = histogram.centers[used], histogram.counts[used].astype(np.float64)
    best, least = histogram.largest, math.inf
    for step in range(_CANDIDATES, 0, -1):
        candidate = histogram.largest * step / _CANDIDATES
        scale = scale_of(candidate, precision)
        error = float(weights @ np.square(round_to(values / scale, precision) * scale - values))
        if error < least:
            best, least = candidate, error
    return best


def _least_divergence(histogram: Histogram) -> float:
    counts = histogram.counts.astype(np.float64)
    counts[0] = 0.0  # a peak at zero (a ReLU's) is exact under every scale, and would decide alone
    last = min(int(histogram.largest / histogram.range * _BINS) + 1, _BINS)
    best, least = histogram.largest, math.inf
    for step in range(_CANDIDATES, 0, -1):
        bins = last * step // _CANDIDATES
        if bins < _LEVELS:
            break
        kept = counts[:bins]
        reference = kept.copy()
        reference[-1] += counts[bins:].sum()
        starts = np.arange(_LEVELS) * bins // _LEVELS
        occupied = (kept > 0).astype(np.float64)
        sums, filled = np.add.reduceat(kept, starts), np.add.reduceat(occupied, starts)
        width = np.diff(np.append(starts, bins))
        quantized = np.repeat(sums / np.maximum(filled, 1), width) * occupied
        divergence = _divergence(reference, quantized)
        if divergence < least:
            best, least = min(bins * histogram.range / _BINS, histogram.largest), divergence
    return best


def _divergence(reference: npt.NDArray[np.float64], quantized: npt.NDArray[np.float64]) -> float:
    """Kullback-Leibler divergence of counts; what the second lacks is smoothed, so that it stays finite."""
    if quantized.sum() == 0:
        return math.inf
    p, q = reference / reference.sum(), quantized / quantized.sum()
    q = np.maximum(q, 1e-12)
    used = p > 0
    return float((p[used] * np.log(p[used] / q[used])).sum())


def observe(
    model: onnx.ModelProto,
    directory: Path,
    layers: Sequence[Layer],
    packs: Sequence[Pack],
    progress: Callable[[int, int], None] = lambda done, total: None,
    channels: dict[str, Channels] | None = None,
) -> dict[str, Histogram]:
    """Layer name -> magnitudes of what it reads, over the tokens of images; padding rows do not count.

    channels: Gets the channels of each value that a layer reads, by the value's name.

    Raises BundleError if a value is not finite, or has no row for each token.
    """
    reader = {layer.activation: layer.name for layer in reversed(layers)}
    histograms = {layer.activation: Histogram() for layer in layers}
    marked = mark_outputs(model, list(histograms))
    found = run_graph(marked, directory, (pack.inputs for pack in packs))
    tokens = sum(int(pack.used_rows().sum()) for pack in packs)
    behind_merge = values_from(model, "merge_rows")
    for done, (pack, activations) in enumerate(zip(packs, found, strict=True)):
        progress(done, len(packs))
        for name, values in activations.items():
            images = pack.rows_of_images(values, behind_merge=name in behind_merge)
            if not images:
                raise BundleError(
                    f"layer {reader[name]} reads {name} of shape {list(values.shape)}; expected a row for each of "
                    f"{len(pack.inputs['patches'])} tokens; leave it in float: --skip-layers {reader[name]}"
                )
            used = np.concatenate(images)
            _require_finite(used, reader[name], pack)
            histograms[name].add(used)
            if channels is not None:
                for image in images:
                    channels.setdefault(name, Channels(tokens)).add(image)
    progress(len(packs), len(packs))
    return {layer.name: histograms[layer.activation] for layer in layers}


def _require_finite(values: Array, layer: str, pack: Pack) -> None:
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        names = ", ".join(segment.name for segment in pack.segments)
        raise BundleError(
            f"layer {layer} reads {count} values that are not finite, of the images {names}; expected numbers; "
            "compare the exported graph with the checkpoint"
        )


def choose_scales(
    histograms: Mapping[str, Histogram], method: str, precision: str, percentile: float
) -> dict[str, float]:
    """Layer name -> scale of what it reads."""
    return {
        name: scale_of(threshold(histogram, method, precision, percentile), precision)
        for name, histogram in histograms.items()
    }
