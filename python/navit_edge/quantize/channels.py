"""What smoothing needs of a value that layers read: each channel's range, and a few rows."""

from __future__ import annotations

import numpy as np

from navit_edge.oracle.packs import Array

#: Rows that are kept, at most: an even choice of all tokens.
ROWS = 1024


class Channels:
    """Of one value, over the tokens of images."""

    def __init__(self, tokens: int) -> None:
        """``tokens``: how many there will be."""
        self._step = max(1, -(-tokens // ROWS))
        self._seen = 0
        self._rows: list[Array] = []
        self.low = np.zeros(0, np.float32)  # [fan_in]
        self.high = np.zeros(0, np.float32)  # [fan_in]

    def add(self, values: Array) -> None:
        """The next tokens: [tokens, fan_in], all of them finite."""
        if len(values) == 0:
            return
        low, high = values.min(axis=0), values.max(axis=0)
        self.low = low if self._seen == 0 else np.minimum(self.low, low)
        self.high = high if self._seen == 0 else np.maximum(self.high, high)
        self._rows.append(values[-self._seen % self._step :: self._step].copy())
        self._seen += len(values)

    @property
    def rows(self) -> Array:
        """[R, fan_in]"""
        return np.concatenate(self._rows)
