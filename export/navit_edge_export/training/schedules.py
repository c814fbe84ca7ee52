"""Numbers that change while a model trains: of the learning rate, of the resolution, of the share of dropped tokens.

``progress`` is the share of the training that is done, 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from navit_edge.errors import InvalidInputError

RAMPS = ("constant", "linear", "cosine", "exponential")
DECAYS = ("constant", "linear", "cosine", "inverse-sqrt")


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """From ``start`` to ``end`` while progress goes from ``begin`` to ``until``; constant before and after.

    constant: always ``start``. linear: s + (e - s) p. cosine: s + (e - s) (1 - cos(pi p)) / 2. exponential:
    s (e / s)^p, the same factor in the same time.
    """

    kind: str = "constant"
    start: float = 0.0
    end: float = 0.0
    begin: float = 0.0
    until: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in RAMPS:
            raise InvalidInputError(f'ramp "{self.kind}" is unknown; expected one of {", ".join(RAMPS)}')
        if not 0 <= self.begin < self.until <= 1:
            raise InvalidInputError(f"ramp: from {self.begin} until {self.until}; expected 0 <= begin < until <= 1")
        if self.kind == "exponential" and not (self.start > 0 and self.end > 0):
            raise InvalidInputError(f"exponential ramp from {self.start} to {self.end}; expected both above 0")

    def at(self, progress: float) -> float:
        """The value there."""
        share = min(1.0, max(0.0, (progress - self.begin) / (self.until - self.begin)))
        if self.kind == "constant":
            return self.start
        if self.kind == "exponential":
            return float(self.start * (self.end / self.start) ** share)
        if self.kind == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + (self.end - self.start) * share


@dataclass(frozen=True, kw_only=True)
class LearningRate:
    """Linear warm-up over ``warmup_steps``, then a decay over the rest of ``steps``.

    Step k (from 0) of the warm-up has peak (k + 1) / warmup_steps. cosine and linear end at ``floor`` times the peak;
    inverse-sqrt is peak sqrt(w / (k + 1)), w the warm-up, and falls linearly to the floor in the last
    ``cooldown_steps`` (Zhai et al., arXiv:2106.04560).
    """

    peak: float = 1e-3
    steps: int = 1000
    warmup_steps: int = 100
    decay: str = "cosine"
    floor: float = 0.0
    cooldown_steps: int = 0

    def __post_init__(self) -> None:
        if self.decay not in DECAYS:
            raise InvalidInputError(f'decay "{self.decay}" is unknown; expected one of {", ".join(DECAYS)}')
        if self.peak <= 0 or not 0 <= self.floor <= 1:
            raise InvalidInputError(f"peak {self.peak}, floor {self.floor}; expected peak > 0 and 0 <= floor <= 1")
        if self.steps < 1 or self.warmup_steps < 0 or self.cooldown_steps < 0:
            raise InvalidInputError("steps must be 1 or more, warmup_steps and cooldown_steps 0 or more")
        if self.warmup_steps + self.cooldown_steps > self.steps:
            raise InvalidInputError(
                f"{self.warmup_steps} steps of warm-up and {self.cooldown_steps} of cool-down do not fit into "
                f"{self.steps} steps"
            )

    def at(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        if self.decay == "constant":
            return self.peak
        if self.decay == "inverse-sqrt":
            return self._inverse_sqrt(step)
        done = min(1.0, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        left = 1 - done if self.decay == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.peak * (self.floor + (1 - self.floor) * left)

    def _inverse_sqrt(self, step: int) -> float:
        scale = max(1, self.warmup_steps)
        turn = self.steps - self.cooldown_steps
        value = self.peak * math.sqrt(scale / (max(scale, min(step, turn) + 1)))
        if step < turn:
            return value
        left = max(0.0, (self.steps - step) / self.cooldown_steps) if self.cooldown_steps else 1.0
        low = self.peak * self.floor
        return low + (value - low) * left
