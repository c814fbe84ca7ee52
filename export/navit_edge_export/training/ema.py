"""An exponential moving average of a model's parameters and buffers."""

from __future__ import annotations

import copy

import torch
from torch import nn

from navit_edge.errors import InvalidInputError


class Ema:
    """``model`` is the average: a copy that does not train.

    decay: of the old average in each step. In the first steps it is (1 + k) / (10 + k) if that is less, so that the
        initial weights are forgotten.
    """

    def __init__(self, model: nn.Module, *, decay: float, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise InvalidInputError(f"EMA: decay is {decay}; expected 0 or more and less than 1")
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.warmup = warmup
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """One step: average = d average + (1 - d) model; integers are copied."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.warmup else self.decay
        self.steps += 1
        for old, new in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if old.is_floating_point():
                old.lerp_(new.to(old.dtype), 1 - decay)
            else:
                old.copy_(new)
