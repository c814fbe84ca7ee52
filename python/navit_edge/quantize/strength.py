"""How much of an activation's range smoothing moves into the weights: tried on what calibration saw, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from navit_edge.oracle.packs import Array
from navit_edge.quantize.channels import Channels, Range
from navit_edge.quantize.layers import Layer
from navit_edge.quantize.qdq import rounded_to, scale_of, weight_scales
from navit_edge.quantize.smoothing import Group, Transform

#: Exponents a that are tried: s = max|x|^a / max|w|^(1 - a) of each channel.
STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Outputs of a product that candidates are judged on, at most: an even choice.
_OUTPUTS = 512
#: A multiplication is added only if the error falls to this part.
_WORTH_A_FACTOR = 0.9


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Of one group."""

    strength: float | None  # None: it stays as it was
    transform: Transform | None
    before: float  # error of the product's output, root mean square over that of the output
    after: float

    @property
    def shifted(self) -> bool:
        return self.transform is not None and bool(self.transform.shift.any())


def choose(
    groups: Sequence[Group],
    layers: Sequence[Layer],
    channels: Mapping[str, Channels],
    weights: Mapping[str, Array],
    precision: str,
    strength: float | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Choice]:
    """Name of a group -> what is best for it; with ``strength`` that one for all, without shifts."""
    axes = {layer.name: layer.axis for layer in layers}
    choices = {}
    for done, group in enumerate(groups):
        progress(done, len(groups))
        if group.activation in channels:
            parts = [weights[name] if axes[name] else weights[name].T for name in group.layers]
            product = _Product(channels[group.activation], np.concatenate(parts, axis=1), precision)
            choices[group.name] = _best(product, group) if strength is None else _given(product, strength)
    progress(len(groups), len(groups))
    return choices


class _Product:
    """One value and all the weights that it is multiplied with, [fan_in, fan_out]."""

    def __init__(self, channels: Channels, weight: Array, precision: str) -> None:
        self._range = channels.range
        self._halves = channels.halves
        self._precision = precision
        self._largest_weight = _positive(np.abs(weight).max(axis=1))
        self._weight = weight[:, :: max(1, -(-weight.shape[1] // _OUTPUTS))]
        self._size = sum(float(np.square(rows @ self._weight, dtype=np.float64).sum()) for _, rows in self._halves)

    def transform(self, strength: float | None, *, shifted: bool, found: Range | None = None) -> Transform:
        """What a strength makes of the range of each channel; nothing, if it is None."""
        found = found or self._range
        if strength is None:
            return Transform(shift=np.zeros_like(found.low), scale=np.ones_like(found.low))
        shift = (found.low + found.high) / 2 if shifted else np.zeros_like(found.low)
        largest = _positive(np.maximum(np.abs(found.low - shift), np.abs(found.high - shift)))
        scale = largest**strength / self._largest_weight ** (1 - strength)
        scale /= np.exp(np.log(scale).mean())
        return Transform(shift=shift.astype(np.float32), scale=scale.astype(np.float32))

    def error(self, strength: float | None, *, shifted: bool = False) -> float:
        """Of the output, if ranges are those of one half of the images and tokens are those of the other.

        So a channel whose range differs from image to image, and would be clipped, counts as it will at run time.
        """
        if self._size == 0:
            return 0.0
        squares = 0.0
        for (found, _), (_, rows) in zip(self._halves, reversed(self._halves), strict=True):
            transform = self.transform(strength, shifted=shifted, found=found)
            shift, scale = transform.shift, transform.scale
            ends = (found.low - shift) / scale, (found.high - shift) / scale
            step = scale_of(float(max(np.abs(end).max() for end in ends)), self._precision)
            value, weight = (rows - shift) / scale, self._weight * scale[:, None]
            steps = weight_scales(weight, 1, self._precision)
            rounded = rounded_to(value, step, self._precision) @ rounded_to(weight, steps, self._precision)
            squares += float(np.square(rounded - value @ weight, dtype=np.float64).sum())
        return float(np.sqrt(squares / self._size))


def _positive(values: Array) -> npt.NDArray[np.float64]:
    """Away from 0: a channel that is always 0, or that nothing reads, gets a scale like that of the least others."""
    largest = float(values.max())
    return np.maximum(values.astype(np.float64), largest * 1e-4 if largest > 0 else 1.0)


def _best(product: _Product, group: Group) -> Choice:
    before = product.error(None)
    tries = [
        (product.error(strength, shifted=shifted), shifted, strength)
        for shifted in ((False, True) if group.shifts else (False,))
        for strength in STRENGTHS
    ]
    after, shifted, strength = min(tries)
    if after >= before * (_WORTH_A_FACTOR if group.kind == "factor" else 1.0):
        return Choice(strength=None, transform=None, before=before, after=before)
    transform = product.transform(strength, shifted=shifted)
    return Choice(strength=strength, transform=transform, before=before, after=after)


def _given(product: _Product, strength: float) -> Choice:
    return Choice(
        strength=strength,
        transform=product.transform(strength, shifted=False),
        before=product.error(None),
        after=product.error(strength),
    )
