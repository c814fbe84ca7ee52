"""From values to places along an axis, and which values of an axis are named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Width of a character over the height of its letters: no text is measured, so that of a wide font is taken.
CHARACTER = 0.62


@dataclass(frozen=True, kw_only=True)
class Scale:
    """low, high: values at both ends; low < high, above 0 if log. start, end: their places."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value; one beyond an end is put there."""
        low, high, value = (math.log(one) if self.log else one for one in (self.low, self.high, self.kept(value)))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def kept(self, value: float) -> float:
        return min(max(value, self.low), self.high)


def spanning(
    values: Sequence[float], *, log: bool, start: float, end: float, zoomed: bool = False, room: float = 0.06
) -> Scale:
    """A scale of all ``values``, with ``room`` of its length free on both sides; none may be 0 or less if log.

    A linear scale of values that are 0 or more begins at 0 if it is not zoomed.
    """
    low, high = min(values), max(values)
    if log:
        factor = max(high / low, 1.5) ** room
        return Scale(low=low / factor, high=high * factor, start=start, end=end, log=True)
    if low >= 0 and not zoomed:
        return Scale(low=0.0, high=(high or 1.0) * (1 + room), start=start, end=end)
    free = room * (high - low) or 1.0
    return Scale(low=low - free, high=high + free, start=start, end=end)


def ticks(scale: Scale, *, most: int = 7) -> list[float]:
    """Round values within the scale, ascending: 1, 2 and 5 times powers of ten."""
    if scale.log and scale.high / scale.low >= 8:
        decades = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
        for steps in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
            found = [step * 10.0**decade for decade in decades for step in steps]
            found = [value for value in found if scale.low <= value <= scale.high]
            if len(found) <= most:
                return found
        return found[:: -(-len(found) // most)]
    step = _round_up((scale.high - scale.low) / most)
    first = math.ceil(scale.low / step - 1e-9)
    return [step * k for k in range(first, math.floor(scale.high / step + 1e-9) + 1)]


def _round_up(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def apart(scale: Scale, values: Sequence[float], *, letters_px: float, names: Sequence[str]) -> list[float]:
    """Those of ascending ``values`` whose names do not run into each other along the axis; the last one always."""
    kept: list[float] = []
    edge = math.inf
    for value, name in reversed(list(zip(values, names, strict=True))):
        half = len(name) * CHARACTER * letters_px / 2
        if scale.at(value) + half < edge - letters_px / 2:
            kept.append(value)
            edge = scale.at(value) - half
    return kept[::-1]


def tick_text(value: float) -> str:
    """ "0.05", "12", "4,096", "1e+07": as short as it is exact."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.6g}"
