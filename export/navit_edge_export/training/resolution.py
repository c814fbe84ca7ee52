"""At which resolution an image is trained: drawn anew each time it is seen.

Source: Dehghani et al., "Patch n' Pack" (arXiv:2307.06304), sections 2.2 and 3.3: a side R is drawn, and the image is
resized to an area of about R^2 pixels that keeps its aspect. Small sides come more often if the side is drawn from a
normal distribution around -1/2 that is cut at -1 and 1, which stand for the smallest and the largest side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.errors import InvalidInputError
from navit_edge_export.sizing import target_grid
from navit_edge_export.training.schedules import Ramp

KINDS = ("native", "side", "area")
DISTRIBUTIONS = ("uniform", "truncated-normal")


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """How large images are: the side R, in pixels, of a square of the same area.

    native: as they are, up to ``max_px``; ``min_px`` does not matter. side: R is drawn between ``min_px`` and
        ``max_px``. area: R^2 is drawn between their squares.
    truncated-normal: of this ``mean`` and ``deviation``, in units in which -1 is the least and 1 the largest.
    aspect_jitter: height / width is multiplied with a factor between 1 / (1 + j) and 1 + j, uniform in its logarithm.
    upscale: images smaller than R are enlarged; otherwise they keep their size.
    """

    kind: str = "side"
    distribution: str = "uniform"
    min_px: int = 64
    max_px: int = 256
    mean: float = -0.5
    deviation: float = 1.0
    aspect_jitter: float = 0.0
    upscale: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInputError(f'resolution "{self.kind}" is unknown; expected one of {", ".join(KINDS)}')
        if self.distribution not in DISTRIBUTIONS:
            raise InvalidInputError(
                f'distribution "{self.distribution}" is unknown; expected one of {", ".join(DISTRIBUTIONS)}'
            )
        if self.max_px < 1 or (self.kind != "native" and not 1 <= self.min_px <= self.max_px):
            raise InvalidInputError(f"resolution: {self.min_px} to {self.max_px} px; expected 1 <= min <= max")
        if self.deviation <= 0 or self.aspect_jitter < 0:
            raise InvalidInputError("resolution: expected deviation > 0 and aspect_jitter >= 0")

    def draw_side(self, rng: np.random.Generator) -> float:
        """R in pixels; one draw."""
        if self.kind == "native":
            return float(self.max_px)
        unit = (self._draw_unit(rng) + 1) / 2
        if self.kind == "side":
            return self.min_px + (self.max_px - self.min_px) * unit
        return float(np.sqrt(self.min_px**2 + (self.max_px**2 - self.min_px**2) * unit))

    def draw_grid(
        self, height_px: int, width_px: int, *, patch_px: int, most_tokens: int, rng: np.random.Generator
    ) -> tuple[int, int]:
        """(rows, columns) of an image of this size: at most R^2 / P^2 patches, by the rule "token-cap" that a bundle
        has, and at most ``most_tokens``."""
        side_px = self.draw_side(rng)
        if self.aspect_jitter:
            stretch = np.exp(rng.uniform(-1, 1) * np.log1p(self.aspect_jitter) / 2)
            height_px, width_px = max(1, round(height_px * stretch)), max(1, round(width_px / stretch))
        tokens = min(most_tokens, max(1, round((side_px / patch_px) ** 2)))
        rule = Sizing(rule="token-cap", max_tokens=tokens, upscale=self.upscale)
        return target_grid(height_px, width_px, patch_px=patch_px, sizing=rule)

    def _draw_unit(self, rng: np.random.Generator) -> float:
        """In [-1, 1]."""
        if self.distribution == "uniform":
            return float(rng.uniform(-1, 1))
        while abs(value := float(rng.normal(self.mean, self.deviation))) > 1:
            pass
        return value


@dataclass(frozen=True, kw_only=True)
class ResolutionPools:
    """Several resolutions, of which each image draws one by weight, and how the largest side grows.

    weights: of the pools, any sum; empty: all the same.
    scale: multiplies ``min_px`` and ``max_px`` of every pool, by progress: Ramp(kind="linear", start=0.5, end=1).
    """

    pools: tuple[Resolution, ...] = (Resolution(),)
    weights: tuple[float, ...] = ()
    scale: Ramp = field(default_factory=lambda: Ramp(start=1.0))

    def __post_init__(self) -> None:
        if not self.pools:
            raise InvalidInputError("found no pool of resolutions; expected at least one")
        if self.weights and (len(self.weights) != len(self.pools) or min(self.weights) < 0 or sum(self.weights) <= 0):
            raise InvalidInputError(
                f"weights {self.weights} of {len(self.pools)} pools; expected one for each, 0 or more, not all 0"
            )

    def draw(self, progress: float, rng: np.random.Generator) -> Resolution:
        """The pool of one image, scaled as at ``progress``."""
        weights: Sequence[float] = self.weights or (1.0,) * len(self.pools)
        chosen = self.pools[int(rng.choice(len(self.pools), p=np.array(weights) / sum(weights)))]
        scale = self.scale.at(progress)
        if scale == 1:
            return chosen
        low, high = max(1, round(chosen.min_px * scale)), max(1, round(chosen.max_px * scale))
        return replace(chosen, min_px=low, max_px=high)
