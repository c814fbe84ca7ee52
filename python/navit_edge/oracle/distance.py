"""How far an output lies from the reference's, image by image."""

from __future__ import annotations

import math

import numpy as np

from navit_edge.oracle.packs import Array


class Differences:
    """Of one output, over images. What is not a number stays one in the differences; its cosine is 0."""

    def __init__(self) -> None:
        self.cosines: list[float] = []  # of an image's output, taken as one vector
        self.largest_difference = 0.0
        self.largest = 0.0  # magnitude of the reference
        self._squares = 0.0
        self._squares_of_difference = 0.0
        self._agreeing = 0

    def add(self, reference: Array, found: Array) -> None:
        """One image's."""
        one, other = reference.astype(np.float64).ravel(), found.astype(np.float64).ravel()
        norms = float(np.linalg.norm(one) * np.linalg.norm(other))
        self.cosines.append(float(one @ other) / norms if norms > 0 else float(not (one.any() or other.any())))
        difference = np.abs(one - other)
        self.largest_difference = float(np.maximum(self.largest_difference, difference.max()))
        self.largest = float(np.maximum(self.largest, np.abs(one).max()))
        self._squares += float(one @ one)
        self._squares_of_difference += float(difference @ difference)
        self._agreeing += int(one.argmax() == other.argmax())

    @property
    def cosine_mean(self) -> float:
        return sum(self.cosines) / len(self.cosines)

    @property
    def rms(self) -> float:
        """Root mean square of the difference over that of the reference."""
        return math.sqrt(self._squares_of_difference / self._squares) if self._squares > 0 else 0.0

    @property
    def agreement(self) -> float:
        """Share of images whose largest value is at the same place."""
        return self._agreeing / len(self.cosines)
