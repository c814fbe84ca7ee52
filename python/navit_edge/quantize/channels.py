"""What smoothing needs of a value that layers read: each channel's range, and a few rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from navit_edge.oracle.packs import Array

#: Rows that are kept, at most: an even choice of all tokens.
ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class Range:
    """Of each channel: [fan_in] both."""

    low: Array
    high: Array

    def joined(self, other: Range) -> Range:
        return Range(low=np.minimum(self.low, other.low), high=np.maximum(self.high, other.high))


class Channels:
    """Of one value, over the tokens of images. Every other image belongs to the other half."""

    def __init__(self, tokens: int) -> None:
        """``tokens``: how many there will be."""
        self._step = max(1, -(-tokens // ROWS))
        self._seen = 0
        self._images = 0
        self._rows: tuple[list[Array], list[Array]] = ([], [])
        self._ranges: list[Range | None] = [None, None]

    def add(self, values: Array) -> None:
        """The next image: [tokens, fan_in], all of them finite."""
        if len(values) == 0:
            return
        half = self._images % 2
        found, before = Range(low=values.min(axis=0), high=values.max(axis=0)), self._ranges[half]
        self._ranges[half] = found if before is None else before.joined(found)
        self._rows[half].append(values[-self._seen % self._step :: self._step].copy())
        self._seen += len(values)
        self._images += 1

    @property
    def range(self) -> Range:
        one, other = self.halves[0][0], self.halves[-1][0]
        return one.joined(other)

    @property
    def rows(self) -> Array:
        """[R, fan_in]"""
        return np.concatenate([rows for _, rows in self.halves])

    @property
    def halves(self) -> Sequence[tuple[Range, Array]]:
        """(range, rows) of each half; of one image, one."""
        halves = zip(self._ranges, self._rows, strict=True)
        return [(found, np.concatenate(rows)) for found, rows in halves if found is not None]
